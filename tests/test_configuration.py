"""`config.yaml` and its manual hold every key of the configuration, with its default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from sbnode.config import Config, load_config
from scripts import config_schema

REPOSITORY = Path(__file__).parents[1]
FILE = REPOSITORY / "config.yaml"


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key, sections of lists and optional sections included."""
    for name, field in section.model_fields.items():
        yield prefix + name
        for inner in dict.fromkeys(sections(field.annotation)):
            yield from keys(inner, f"{prefix}{name}.")


def sections(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from sections(part)


def written(content: object, prefix: str = "") -> Iterator[str]:
    if isinstance(content, dict):
        for name, value in content.items():
            yield prefix + name
            # A rule has keywords of the dictionary in between.
            yield from written(list(value.values()) if name == "when" else value, f"{prefix}{name}.")
    elif isinstance(content, list):
        for item in content:
            yield from written(item, prefix)


def test_the_file_holds_the_defaults() -> None:
    loaded = load_config(FILE)
    spool = loaded.spool.model_copy(update={"path": loaded.spool.path.relative_to(REPOSITORY)})
    assert loaded.model_copy(update={"spool": spool}) == Config()


def test_every_key_stands_in_the_file_and_its_examples_are_valid(tmp_path: Path) -> None:
    text = FILE.read_text(encoding="utf-8")
    # With its examples in place of the defaults they explain, the file shows every key.
    text = text.replace("  tls: null\n  # tls:", "  # tls:")
    text = re.sub(r"^  callers: \[\] .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^  syslog: null .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^  (webhook|mail): null\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(archives|(web_)?destinations|rules): \[\]\n", "", text, flags=re.MULTILINE)
    shown = "\n".join(_uncomment(line) for line in text.splitlines())
    content = yaml.safe_load(shown.replace("tls_port: null", "tls_port: 2762"))
    content["receive"]["calling_ae_titles"] = ["PACS"]
    nested = {f"{peers}.tls.{key}" for peers in ("archives", "destinations") for key in ("certificate", "key", "ca")}
    nested |= {"rules.when.equals", "rules.when.min"}  # a plain value, and as max
    assert set(keys(Config)) - set(written(content)) == nested  # as in node.tls
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert load_config(tmp_path / "config.yaml").destinations[0].name == "pacs"


def _uncomment(line: str) -> str:
    """Turn the commented lines of the examples into content."""
    if line.startswith(("# archives:", "# destinations:", "# web_destinations:", "# rules:", "#   - ", "#     ")):
        return line[2:]
    examples = ("tls:", "syslog:", "callers:", "webhook:", "mail:")
    if line.startswith("  # ") and (line[4:].startswith(examples) or line.startswith("  #   ")):
        return "  " + line[4:]
    return line


def test_every_key_stands_in_the_manual() -> None:
    manual = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    leaves = set(keys(Config)) - set(Config.model_fields) - {"receive.completion"}
    assert {key for key in leaves if f"`{key}`" not in manual} == set()


SCHEMA: dict[str, Any] = json.loads((REPOSITORY / "config.schema.json").read_text(encoding="utf-8"))
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def obeys(value: Any, schema: dict[str, Any]) -> bool:
    """Whether ``value`` obeys those words of JSON Schema that the file uses."""
    if "$ref" in schema:
        return obeys(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return any(obeys(value, one) for one in schema["anyOf"])
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(value is None if one == "null" else isinstance(value, TYPES[one]) for one in types):
            return False
        if isinstance(value, bool) and "boolean" not in types:
            return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return False
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return False
    if isinstance(value, list):
        return all(obeys(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        return set(schema.get("required", ())) <= value.keys() and all(
            obeys(item, known[key]) if key in known else others is True or (bool(others) and obeys(item, others))
            for key, item in value.items()
        )
    return True


def test_the_schema_is_up_to_date_and_of_no_machine() -> None:
    assert (REPOSITORY / "config.schema.json").read_text(encoding="utf-8") == config_schema.text()
    assert str(REPOSITORY) not in config_schema.text()


def test_every_key_is_described_in_the_schema() -> None:
    bare = {
        f"{owner.__name__}.{name}"
        for owner, name, path in config_schema._fields(Config)
        if "." in path
        and "description" not in str(described(owner, name))
        and "$ref" not in str(described(owner, name))
    }
    # What is said by the name alone, or of a group as a whole.
    assert {
        key for key in bare if key.partition(".")[2] not in ("host", "port", "key", "ca", "name", "certificate")
    } == set()


def described(owner: type[BaseModel], name: str) -> Any:
    found = SCHEMA["$defs"][owner.__name__]
    return next(one for one in found.get("anyOf", [found]) if "properties" in one)["properties"][name]


def test_the_file_obeys_the_schema() -> None:
    assert FILE.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=config.schema.json\n")
    assert obeys(yaml.safe_load(FILE.read_text(encoding="utf-8")), SCHEMA)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("rules: [{name: a, when: {Modality: CT, Rows: {min: 3}}}]", True),
        ("rules: [{name: a, when: {Modality: {mni: CT}}}]", False),
        ("rules: [{when: {}}]", False),
        ("node: {port: 70000}", False),
        ("region: vault", False),
        ("nodes: {}", False),
    ],
)
def test_the_schema_refuses_what_the_node_does(text: str, good: bool) -> None:
    assert obeys(yaml.safe_load(text), SCHEMA) is good
