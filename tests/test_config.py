"""The configuration: defaults, faults named by key, paths taken from the file's folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from sbnode.config import Config, load_config
from sbnode.errors import ConfigError


def loaded(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path)


def test_an_empty_file_is_valid(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").region == "skull_base"


def test_nobody_may_send_by_default() -> None:
    assert load_config(None).receive.calling_ae_titles == ()


def test_relative_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, "spool: {path: data}\nmodel: {occupancy: /elsewhere/model}")
    assert config.spool.path == tmp_path / "data"
    assert config.model.occupancy == Path("/elsewhere/model")


def test_the_default_models_are_those_of_the_package(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").model == load_config(None).model


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: {}", "nodes"),
        ("node: {port: 70000}", "node.port"),
        ("node: {ae_title: A_TITLE_THAT_IS_TOO_LONG}", "node.ae_title"),
        ("node: {tls_port: 2762}", "belong together"),
        ("receive: {completion: {idle_s: 0}}", "receive.completion.idle_s"),
        ("selection: {sharp_kernel: '('}", "not a regular expression"),
        ("region: vault", "region"),
        ("- 1", "keys and values"),
        ("a: [", "config.yaml"),
        (
            "destinations: [{name: a, ae_title: A, host: h, port: 104}, {name: a, ae_title: B, host: h, port: 104}]",
            "same name",
        ),
        ("destinations: [{name: a, ae_title: A, host: h}]", "destinations.0.port"),
        ("destinations: [{name: a, ae_title: A, host: h, port: 104, objects: [fine]}]", "set results.fine to true"),
        (
            "destinations: [{name: a, ae_title: A, host: h, port: 104, objects: [labelmap]}]",
            "results.label_map to true",
        ),
        ("archives: [{name: a, ae_title: A, host: h, port: 104}]", "A must be among receive.calling_ae_titles"),
        (
            "destinations: [{name: a, ae_title: A, host: h, port: 104, confirm: commitment}]",
            "needs A among receive.calling_ae_titles",
        ),
    ],
)
def test_faults_are_named_by_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        loaded(tmp_path, text)


def test_every_fault_is_said_at_once_with_the_nearest_key_whatever_is_around_it(tmp_path: Path) -> None:
    text = """
node: {tls: {certificat: a, key: b}}
receive: {completion: {idle: 3}}
archives: [{name: a, ae_title: A, host: h, port: 104, retreive: true}]
rules:
  - {name: a, when: {StudyDescripton: x, Rows: {mni: 3}, Modality: {max: 1}}}
  - {name: b, destinatons: [c]}
"""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    lines = str(caught.value).splitlines()
    for wanted in (
        "node.tls.certificat: .*'certificate'",
        "receive.completion.idle: .*'idle_s'",
        "archives.0.retreive: .*'retrieve'",
        "rules.0.when.StudyDescripton.*'StudyDescription'",
        "rules.0.when.Rows.mni: .*'min'",
        "rules.1.destinatons: .*'destinations'",
    ):
        assert any(re.search(wanted, line) for line in lines), (wanted, lines)


def test_all_faults_between_sections_are_said_at_once(tmp_path: Path) -> None:
    text = """
results: {fine: false}
destinations: [{name: pacs, ae_title: A, host: h, port: 104, objects: [fine], confirm: commitment}]
rules: [{name: a, destinations: [pcas]}, {name: a}]
"""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1 + 4
    assert "rule a: no destination is named 'pcas' (did you mean 'pacs'?)" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_config(None).region = "all_bone"  # type: ignore[misc]
