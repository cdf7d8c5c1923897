"""config.yaml and model.yaml, broken in every way: only our own errors come of it, soon and in bounded memory."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbnode.config import load_config
from sbnode.errors import ConfigError, ModelError, SbnodeError
from sbnode.inference.model import read_model_description
from tests.conftest import REPOSITORY

SEED = 20261124
CASES = 1_000
SLOW_S = 20.0
MODEL = b"""name: m
version: 1.0.0
sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
licence: Apache-2.0
input: {name: x, spacing_mm: 0.4}
tile: {size: 64, halo: 8, multiple_of: 8}
"""
"""The SHA-256 is that of an empty file."""
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e400, float("nan"), 10**400, "", "x" * 10_000, "\0", "../..", [], [[]], {}, {"a": {"b": []}},
    [1, "x"], b"\xff", "(?P<", "[", "a{99999999}", "http://[", "http://h:99999/", "https://u:p@h/", "PACS\\X", " " * 20,
    "Ω", {1: 2}, {None: None},
)  # fmt: skip


def laughs(levels: int) -> bytes:
    """Each level holds the one before nine times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


HOSTILE = {
    "empty key": b"? \n: 1\n",
    "billion laughs": laughs(12),
    "billion laughs in a list of ours": laughs(10) + b"\ndestinations: *a9\n",
    "billion laughs in a value of ours": laughs(10) + b"\nreceive: {calling_ae_titles: *a9}\n",
    "billion laughs as a key": laughs(10) + b"\n? *a9\n: 1\n",
    "itself": b"&a [*a]",
    "itself in a mapping": b"node: &a {ae_title: *a, tls: *a}\n",
    "itself merged": b"node: &a\n  <<: *a\n",
    "merged twice": b"node: {<<: [{port: 1}, {port: 2}], ae_title: A}\nx: 1\n",
    "nested lists": b"[" * 20_000,
    "nested mappings": b"{a: " * 5_000,
    "nested blocks": b"".join(b" " * n + b"a:\n" for n in range(2_000)),
    "not UTF-8": b"node: {ae_title: \xff\xfe}\n",
    "UTF-16": "node: {port: 1}".encode("utf-16"),
    "NUL": b"node:\0 1\n",
    "duplicate section": b"node: {port: 1}\nnode: {port: 2}\n",
    "duplicate key": b"node: {port: 1, port: 2}\n",
    "huge": b"# x\n" * 500_000 + b"node: 7\n",
    "a tag of Python": b"node: !!python/object/apply:os.system ['true']\n",
    "a long integer": b"node: {port: " + b"9" * 10_000 + b"}\n",
    "a long octal": b"node: {port: 0" + b"7" * 100_000 + b"}\n",
    "sexagesimal": b"node: {port: 1" + b":59" * 5_000 + b"}\n",
    "a date that is none": b"node: {port: 2026-99-99}\n",
    "a time that is none": b"node: {port: 2026-01-01T99:99:99Z}\n",
    "base64 that is none": b"node: {port: !!binary x}\n",
    "two documents": b"node: {}\n---\nnode: {}\n",
    "a tab": b"node:\n\tport: 1\n",
    "a directive": b"%YAML 9.9\n---\nnode: {}\n",
    "an unknown anchor": b"node: *nobody\n",
    "a set": b"node: !!set {a, b}\n",
    "an ordered map": b"node: !!omap [a: 1]\n",
    "a list as a key": b"? [a, b]\n: 1\n",
    "a surrogate": b'node: {ae_title: "\\ud800"}\n',
    "a path with NUL": b'spool: {path: "a\\0b"}\n',
    "a path that is long": b"spool: {path: " + b"a/" * 50_000 + b"}\n",
    "a regular expression that is deep": b'selection: {sharp_kernel: "' + b"(" * 3_000 + b")" * 3_000 + b'"}\n',
    "a regular expression that is wide": b'selection: {sharp_kernel: "(((a{999}){999}){999}){999}{9999999999}"}\n',
}  # fmt: skip


def mutations(content: bytes) -> list[bytes]:
    """Good documents with a value replaced, a key changed, bytes or lines moved; always the same ones."""
    draw = random.Random(SEED)
    made = []
    for _ in range(CASES):
        kind = draw.randrange(4)
        if kind == 0:
            changed = bytearray(content)
            for _ in range(draw.choice((1, 2, 8, 40))):
                changed[draw.randrange(len(changed))] = draw.randrange(256)
            made.append(bytes(changed))
        elif kind == 1:
            lines = content.splitlines(keepends=True)
            lines.insert(draw.randrange(len(lines)), draw.choice(lines))
            del lines[draw.randrange(len(lines))]
            made.append(b"".join(lines))
        else:
            tree = yaml.safe_load(content)
            for _ in range(draw.choice((1, 1, 3))):
                _replace(draw, tree)
            made.append(yaml.dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))
    return made


def _replace(draw: random.Random, tree: Any) -> None:
    """Put something else somewhere into ``tree``."""
    node = tree
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = draw.choice(keys)
        if draw.random() < 0.5 and isinstance(node[key], (dict, list)) and node[key]:
            node = node[key]
            continue
        if isinstance(node, dict) and draw.random() < 0.2:
            node[draw.choice(("unknown", "nodes", 7, None))] = node.pop(key)
        else:
            node[key] = draw.choice(VALUES)
        return


def require(read: Callable[[], object], error: type[SbnodeError], what: str) -> bool:
    """Fail unless ``read`` returns or raises ``error``, and does so soon; return whether it raised."""
    started = time.monotonic()
    message = ""
    try:
        read()
        refused = False
    except error as raised:
        refused = True
        message = str(raised)
    except BaseException as raised:
        raise AssertionError(f"{what}: {type(raised).__name__}: {str(raised)[:300]}") from raised
    assert len(message) < 100_000, f"{what}: a message of {len(message)} characters"
    taken_s = time.monotonic() - started
    assert taken_s < SLOW_S, f"{what}: {taken_s:.1f} s"
    return refused


@pytest.fixture(autouse=True)
def _bounded_memory() -> Any:
    """Fail where a document makes memory explode, instead of filling the machine."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (6_000_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_configuration_is_a_config_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    require(lambda: load_config(path), ConfigError, "it")


@pytest.mark.parametrize("name", ["duplicate section", "duplicate key"])
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, name: str) -> None:
    """YAML would take the last one in silence (YAML 1.2, 3.2.1.3 forbids both)."""
    path = tmp_path / "config.yaml"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ConfigError, match="stands twice"):
        load_config(path)


def test_mutated_configurations_raise_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    refused = 0
    for number, content in enumerate(mutations((REPOSITORY / "config.yaml").read_bytes())):
        path.write_bytes(content)
        refused += require(lambda: load_config(path), ConfigError, f"case {number}")
    assert CASES / 3 < refused < CASES


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_model_description_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").touch()
    (model / "model.yaml").write_bytes(content)
    assert require(lambda: read_model_description(model), ModelError, "it")


def test_mutated_model_descriptions_raise_nothing_else(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").touch()
    refused = 0
    for number, content in enumerate(mutations(MODEL)):
        (model / "model.yaml").write_bytes(content)
        refused += require(lambda: read_model_description(model), ModelError, f"case {number}")
    assert CASES / 3 < refused < CASES


def test_a_folder_in_the_place_of_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_config(tmp_path)
    (tmp_path / "model" / "model.yaml").mkdir(parents=True)
    with pytest.raises(ModelError):
        read_model_description(tmp_path / "model")
