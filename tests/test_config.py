"""The configuration: defaults, faults named by key, paths taken from the file's folder."""

from __future__ import annotations

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
        ("node: {port: null}", "nobody can send"),
        ("receive: {callers: [{ae_title: A, networks: [10.1.2.3/16]}]}", "has host bits set"),
        ("receive: {callers: [{ae_title: A, networks: [10]}]}", "not a network"),
        ("receive: {callers: [{ae_title: A, networks: ['::ffff:10.0.0.0/104']}]}", "an IPv4 network"),
        ("receive: {callers: [{ae_title: A, networks: [scanner1]}]}", "receive.callers.0.networks.0"),
        ("receive: {calling_ae_titles: [A], callers: [{ae_title: A}]}", "A stands twice"),
        ("receive: {callers: [{ae_title: A, certificate_name: a}]}", "needs node.tls with ca"),
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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_config(None).region = "all_bone"  # type: ignore[misc]
