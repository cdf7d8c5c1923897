"""Reading YAML strictly: a key that stands twice is an error, and whatever is wrong comes as one exception."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

__all__ = ["read_document"]


def read_document(path: Path) -> Any:
    """Return what the YAML file at ``path`` holds, made of dicts, lists and scalars.

    Raises:
        OSError: the file can't be read.
        ValueError: it isn't YAML in UTF-8, a key stands twice, a number or date is none, or it is nested too deep.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of several equal keys in silence; YAML forbids them (YAML 1.2, section 3.2.1.3)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for tag, value in keys:
            if keys.count((tag, value)) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{value}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
