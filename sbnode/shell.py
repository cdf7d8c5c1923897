"""What the shell completes beyond commands and options: names of destinations, ids of the queue.

It reads files alone: pressing a key must neither open a database nor make a folder.
"""

from __future__ import annotations

from pathlib import Path

from sbnode.config import Config, load_config
from sbnode.errors import ConfigError

__all__ = ["destination_names", "queue_ids"]


def destination_names(config: Path | None, beginning: str, *, web: bool = True) -> list[str]:
    """Return the names of destinations that begin so, those of DICOMweb with ``web``; none when the configuration has
    a fault.
    """
    settings = _settings(config)
    names = (destination.name for destination in (settings.all_destinations if web else settings.destinations))
    return sorted(name for name in names if name.startswith(beginning))


def queue_ids(config: Path | None, beginning: str) -> list[str]:
    """Return the ids of studies and jobs that begin so, as the spool has them."""
    manifests = (_settings(config).spool.path / "jobs").glob("*.json")
    return sorted(path.stem for path in manifests if path.stem.startswith(beginning))


def _settings(config: Path | None) -> Config:
    try:
        return load_config(config)
    except ConfigError:
        return Config()
