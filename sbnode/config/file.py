"""Reading the file: every fault is named by its key, with the key that was meant."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError

from sbnode.config.config import Config
from sbnode.document import read_document
from sbnode.errors import ConfigError
from sbnode.spelling import meant

__all__ = ["load_config"]

_S = TypeVar("_S", bound=BaseModel)


def load_config(path: Path | None) -> Config:
    """Read ``path``, or return the defaults when it is None. Relative paths are taken from the file's folder.

    Raises:
        ConfigError: the file can't be read, isn't YAML, or has a wrong key or value; the message names each.
    """
    if path is None:
        return Config()
    try:
        content = read_document(path)
    except OSError as error:
        hint = "; name your configuration with --config" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{path}: it can't be read ({error.strerror}){hint}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: the file must hold keys and values, not {type(content).__name__}")
    try:
        return _resolve(Config.model_validate(content or {}), path.resolve().parent)
    except ValidationError as error:
        faults = [fault for found in error.errors() for fault in _faults(found["loc"], found["msg"])]
        between = "\n  " if len(faults) > 1 else " "
        raise ConfigError(between.join((f"{path}:", *dict.fromkeys(faults)))) from error


def _faults(location: tuple[int | str, ...], message: str) -> list[str]:
    """Return what is wrong and where, a line each; rules that join several sections have no location."""
    message = message.removeprefix("Value error, ")
    if not location:
        return message.splitlines()
    return [f"{'.'.join(map(str, location))}: {message}{_nearest(location)}"]


def _nearest(location: tuple[int | str, ...]) -> str:
    """Return a hint at the key of the same section that is most like the last one of ``location``, if any."""
    section: object = Config
    for part in location[:-1]:
        models = _models(section)
        fields = models[0].model_fields if models else {}
        # The other parts are places in a list, keys of a mapping, or name one type of several.
        section = fields[part].annotation if isinstance(part, str) and part in fields else section
    return meant(str(location[-1]), (key for model in _models(section) for key in model.model_fields))


def _models(annotation: object) -> tuple[type[BaseModel], ...]:
    """Return the sections that ``annotation`` is made of, whatever lists, mappings and unions are around them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(model for part in get_args(annotation) for model in _models(part))


def _resolve(section: _S, folder: Path) -> _S:
    """Return the section with every relative path put under ``folder``."""
    changed: dict[str, object] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            changed[name] = _resolve(value, folder)
        elif isinstance(value, Path):
            changed[name] = folder / value
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            changed[name] = tuple(_resolve(item, folder) for item in value)
    return section.model_copy(update=changed)
