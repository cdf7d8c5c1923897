"""What is installed: sbnode, what it needs, and where networks can run."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import distributions

from sbnode import __version__
from sbnode.config import Config
from sbnode.errors import ModelError

__all__ = ["Installation", "read_installation"]


@dataclass(frozen=True, slots=True)
class Installation:
    """Versions by name."""

    sbnode: str
    packages: dict[str, str]
    providers: tuple[str, ...]
    """Execution providers that this build of ONNX Runtime has."""
    models: dict[str, dict[str, str]]
    """By key of the configuration: name, version and sha256, or fault."""


def read_installation(config: Config) -> Installation:
    """Read what is installed, and the models that ``config`` names."""
    from sbnode.inference.model import available_providers, read_model_description

    models: dict[str, dict[str, str]] = {}
    for key, folder in (("model.occupancy", config.model.occupancy), ("model.region", config.model.region)):
        try:
            found = read_model_description(folder)
        except ModelError as error:
            models[key] = {"fault": str(error)}
        else:
            models[key] = {"name": found.name, "version": found.version, "sha256": found.sha256}
    packages = {found.name: found.version for found in distributions()}
    return Installation(__version__, dict(sorted(packages.items())), available_providers(), models)
