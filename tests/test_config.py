"""The configuration: defaults, faults named by key, paths taken from the file's folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError
from sqlalchemy import make_url

from sbnode.config import Config, load_config
from sbnode.errors import ConfigError
from sbnode.jobs.queues import database_url


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
        ("queue: {url: 'postgresql+psycopg://sbnode:secret@host/queue'}", "must not hold a password"),
        ("queue: {url: 'postgresql+psycopg://sbnode@host/queue?password=secret'}", "must not hold a password"),
        ("queue: {password_file: password}", "needs a url with a user"),
        ("node: {port: null}", "nobody can send"),
        ("status: {show_patient: true}", "show_patient needs a user"),
        ("status: {user: a, show_patient: true}", "belong together"),
        ("status: {user: 'a:b', password_file: p}", "must not hold a colon"),
        ("status: {user: a, password_file: p, monitor_user: m}", "belong together"),
        ("status: {user: a, password_file: p, monitor_user: 'm:n', monitor_password_file: q}", "must not hold a colon"),
        ("status: {user: a, password_file: p, monitor_user: a, monitor_password_file: q}", "another one than user"),
        ("status: {user: '', password_file: p}", "status.user: .*at least 1 character"),
        (
            "status: {user: a, password_file: p, monitor_user: '', monitor_password_file: q}",
            "status.monitor_user: .*at least 1 character",
        ),
        ("status: {monitor_user: m, monitor_password_file: q}", "monitor_user needs a user"),
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


SECRET = re.compile(r"pass|token|secret|credential|auth|api_?key|bearer|private", re.IGNORECASE)


def fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its type, those of lists and optional sections included."""
    for name, field in section.model_fields.items():
        yield prefix + name, field.annotation
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from fields(inner, f"{prefix}{name}.")


def test_a_secret_stands_in_a_file_never_in_the_configuration() -> None:
    found = {name: kind for name, kind in fields(Config) if SECRET.search(name.rpartition(".")[2])}
    assert {"web_destinations.token_file", "web_destinations.password_file", "status.password_file"} <= found.keys()
    for name, kind in found.items():
        assert name.endswith("_file"), f"{name}: its value would stand in the configuration"
        assert Path in (kind, *get_args(kind)), f"{name} is no path"


def test_what_names_a_server_by_url_takes_no_password(tmp_path: Path) -> None:
    urls = {name for name, _ in fields(Config) if "url" in name.rpartition(".")[2]}
    texts = {
        "queue.url": "queue: {url: 'postgresql+psycopg://user:CANARY@host/database'}",
        "web_destinations.url": "web_destinations: [{name: a, url: 'https://user:CANARY@host/'}]",
        "notify.webhook.url": "notify: {webhook: {url: 'https://user:CANARY@host/'}}",
    }
    assert urls == texts.keys()
    for text in texts.values():
        with pytest.raises(ConfigError) as raised:
            loaded(tmp_path, text)
        assert "CANARY" not in str(raised.value)


def test_the_password_of_the_queue_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/w\u00f6rd:%\n", encoding="utf-8")
    text = "queue: {url: 'postgresql+psycopg://sbnode@[::1]:5432/queue?sslmode=verify-full', password_file: password}"
    url = make_url(database_url(loaded(tmp_path, text)))
    assert (url.username, url.password, url.host, url.port) == ("sbnode", "p@ss/w\u00f6rd:%", "::1", 5432)
    assert (url.database, url.query) == ("queue", {"sslmode": "verify-full"})
    (tmp_path / "password").unlink()
    with pytest.raises(ConfigError, match=r"queue\.password_file"):
        database_url(loaded(tmp_path, text))
