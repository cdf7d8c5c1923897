"""The configuration in force, and another one taking its place while the node runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from sbnode import log
from sbnode.config import Config, load_config
from sbnode.errors import ConfigError
from sbnode.spool import durable

__all__ = ["RELOADED", "Settings", "merge", "write"]

RELOADED = (
    "receive.calling_ae_titles",
    "receive.callers",
    "receive.require_called_ae_title",
    "retention.study_days",
    "retention.dead_letter_days",
    "retention.max_bytes",
    "selection",
    "region",
    "threshold",
    "results",
    "archives",
    "destinations",
    "web_destinations",
    "rules",
    "shadow",
    "queue.first_retry_s",
    "queue.longest_retry_s",
    "queue.attempts",
    "queue.low_priority_hours",
    "notify",
    "monitoring",
)
"""Keys that a running node takes anew. All others need a restart."""


class Settings:
    """One frozen configuration at a time, from ``file``."""

    def __init__(self, config: Config, file: Path | None) -> None:
        self._config, self._file = config, file

    @property
    def config(self) -> Config:
        """What is in force."""
        return self._config

    def reload(self, hand_on: Callable[[Config], None] = lambda config: None) -> bool:
        """Read the file again and put what can be changed into force; return whether anything was.

        ``hand_on`` gets it first; where that fails with OSError, nothing changes.

        What needs a restart is logged and stays as it was. So does everything when the file has a fault, and each fault
        is logged.
        """
        logger = log.get_logger()
        try:
            merged, applied, waiting = merge(self._config, load_config(self._file))
        except ConfigError as error:
            for line in str(error).splitlines():
                logger.error("configuration_refused", reason=line.strip())
            return False
        for key in waiting:
            logger.warning("configuration_needs_restart", key=key)
        try:
            hand_on(merged)
        except OSError as error:
            logger.error("configuration_refused", reason=f"it can't be kept in the spool: {error.strerror}")
            return False
        self._config = merged
        logger.info("configuration_reloaded", keys=list(applied))
        return bool(applied)


def merge(old: Config, new: Config) -> tuple[Config, tuple[str, ...], tuple[str, ...]]:
    """Return ``old`` with what of ``new`` needs no restart, the keys that changed so, and those that need a restart.

    Raises:
        ConfigError: some of the new can't be used without the rest, for which a restart is needed.
    """
    before, after = dict(_leaves(old)), dict(_leaves(new))
    changed = [key for key in after if before.get(key) != after[key]]
    applied = tuple(key for key in changed if _is_reloaded(key))
    waiting = tuple(key for key in changed if not _is_reloaded(key))
    content = old.model_dump()
    for key in applied:
        *sections, name = key.split(".")
        place: dict[str, Any] = content
        for section in sections:
            place = place[section]
        place[name] = after[key]
    try:
        return Config.model_validate(content), applied, waiting
    except ValidationError as error:
        raise ConfigError(
            f"{', '.join(waiting)} need a restart, and without them the rest is at fault: "
            + "; ".join(found["msg"] for found in error.errors())
        ) from error


def write(config: Config, path: Path) -> None:
    """Write ``config`` so that ``load_config`` reads it, for this user only."""
    durable.write(path, config.model_dump_json(indent=1), mode=0o600)


def _is_reloaded(key: str) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in RELOADED)


def _leaves(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield each key with its value; lists and what is optional as a whole."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
