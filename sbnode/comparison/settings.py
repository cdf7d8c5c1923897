"""In which settings and models two configurations differ, as far as these change results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sbnode.config import Config
from sbnode.inference.model import ModelDescription

__all__ = ["Difference", "ModelFacts", "differences"]

SECTIONS = ("region", "selection", "rules", "threshold", "model", "execution", "results")
"""What of a configuration has a say in the results."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key, and its value in A and in B, as YAML would have it."""

    key: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What names a model."""

    name: str
    version: str
    sha256: str

    @classmethod
    def of(cls, description: ModelDescription) -> ModelFacts:
        """Take them from a model's description."""
        return cls(description.name, description.version, description.sha256)


def differences(a: Config, b: Config) -> tuple[Difference, ...]:
    """Return every key of ``SECTIONS`` whose value differs, in the order of the configuration."""
    in_a, in_b = (dict(_leaves(config.model_dump(mode="json", include=set(SECTIONS)))) for config in (a, b))
    return tuple(
        Difference(key, in_a.get(key, "-"), in_b.get(key, "-"))
        for key in dict.fromkeys((*in_a, *in_b))
        if in_a.get(key) != in_b.get(key)
    )


def _leaves(content: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key with its value as text; lists of sections, such as rules, by the name of each item."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else key)
    elif isinstance(content, list) and content and all(isinstance(item, dict) and "name" in item for item in content):
        for item in content:
            yield from _leaves(item, f"{prefix}.{item['name']}")
    else:
        yield prefix, json.dumps(content, ensure_ascii=False)
