"""`config.yaml` and its manual hold every key of the configuration, with its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import yaml
from pydantic import BaseModel

from sbnode.config import Config, load_config

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
    if line.startswith("  # ") and (line[4:].startswith(("tls:", "syslog:", "callers:")) or line.startswith("  #   ")):
        return "  " + line[4:]
    return line


def test_every_key_stands_in_the_manual() -> None:
    manual = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    leaves = set(keys(Config)) - set(Config.model_fields) - {"receive.completion"}
    assert {key for key in leaves if f"`{key}`" not in manual} == set()
