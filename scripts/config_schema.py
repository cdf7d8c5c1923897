"""Write the JSON Schema of config.yaml, by which editors complete and check it: config_schema.py OUTPUT.

The structure is that of the models; what each key means is taken from the tables of docs/configuration.md.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from sbnode.config import Config

REPOSITORY = Path(__file__).resolve().parent.parent
MANUAL = REPOSITORY / "docs" / "configuration.md"
_ROW = re.compile(r"^\| `([a-z_.]+)` \|(.*?)\|(.*)\|$", re.MULTILINE)


def schema() -> dict[str, Any]:
    """Return the schema."""
    made = Config.model_json_schema()
    meanings = {key: meaning.replace("`", "").strip() for key, _, meaning in _ROW.findall(MANUAL.read_text("utf-8"))}
    for owner, name, path in _fields(Config):
        section = made if owner is Config else made["$defs"][owner.__name__]
        if meanings.get(path):
            section["properties"][name].setdefault("description", meanings[path])
    # A plain value instead of conditions: see Matcher.
    made["$defs"]["Matcher"] = {"anyOf": [{"type": ["string", "number"]}, made["$defs"]["Matcher"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_tidy(made)}


def _fields(owner: type[BaseModel], prefix: str = "") -> Iterator[tuple[type[BaseModel], str, str]]:
    for name, field in owner.model_fields.items():
        yield owner, name, prefix + name
        for inner in _sections(field.annotation):
            yield from _fields(inner, f"{prefix}{name}.")


def _sections(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


def _tidy(node: Any) -> Any:
    """Leave out titles, which only repeat the keys, and make paths of this machine relative."""
    if isinstance(node, dict):
        return {key: _tidy(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}
    if isinstance(node, list):
        return [_tidy(value) for value in node]
    return node.removeprefix(f"{REPOSITORY}/") if isinstance(node, str) else node


def text() -> str:
    """Return the content of the file."""
    return json.dumps(schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
