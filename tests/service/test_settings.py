"""A new configuration takes the place of the old one: what it can change, what it can't, and when it has a fault."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from sbnode.config import Config, load_config
from sbnode.errors import ConfigError
from sbnode.service.settings import Settings, merge, write

PEER = {"name": "pacs", "ae_title": "PACS", "host": "h", "port": 104}


def edited(folder: Path, content: dict[str, Any] | str) -> Path:
    file = folder / "config.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def reloaded(settings: Settings) -> tuple[bool, list[tuple[str, Any]]]:
    """Reload; return what that says and the log: actions with their keys or reasons."""
    with structlog.testing.capture_logs() as records:
        changed = settings.reload()
    return changed, [(r["event"], r.get("keys") or r.get("key") or r.get("reason")) for r in records]


def test_what_can_be_changed_is_in_force_and_what_can_t_is_said(tmp_path: Path) -> None:
    file = edited(tmp_path, {})
    settings = Settings(load_config(file), file)
    old = settings.config
    rules = [{"name": "a", "when": {"Modality": "CT"}, "destinations": ["pacs"]}]
    receive = {"calling_ae_titles": ["CT1"], "max_associations": 3}
    edited(tmp_path, {"node": {"port": 1104}, "receive": receive, "destinations": [PEER], "rules": rules})
    changed, log = reloaded(settings)
    assert changed
    assert log == [
        ("configuration_needs_restart", "node.port"),
        ("configuration_needs_restart", "receive.max_associations"),
        ("configuration_reloaded", ["receive.calling_ae_titles", "destinations", "rules"]),
    ]
    now = settings.config
    assert (now.receive.calling_ae_titles, now.destinations[0].name, now.rules[0].name) == (("CT1",), "pacs", "a")
    assert (now.node, now.receive.max_associations) == (old.node, old.receive.max_associations)
    assert reloaded(settings)[0] is False


def test_a_file_with_faults_changes_nothing_and_each_is_logged(tmp_path: Path) -> None:
    file = edited(tmp_path, {"destinations": [PEER]})
    settings = Settings(load_config(file), file)
    old = settings.config
    edited(tmp_path, {"destinatons": [], "region": "vault"})
    changed, log = reloaded(settings)
    assert not changed
    assert settings.config is old
    reasons = [reason for action, reason in log if action == "configuration_refused"]
    assert len(reasons) == len(log) == 3
    assert any("did you mean 'destinations'" in reason for reason in reasons)
    edited(tmp_path, "a: [")
    assert reloaded(settings)[0] is False
    file.unlink()
    assert reloaded(settings)[0] is False
    assert settings.config is old


def test_what_is_written_is_read_as_the_same_and_by_nobody_else(tmp_path: Path) -> None:
    file = edited(
        tmp_path,
        {
            "queue": {"url": "postgresql+psycopg://u@h/d", "low_priority_hours": "19:00-07:00"},
            "receive": {"callers": [{"ae_title": "CT1", "networks": ["10.0.0.0/8", "fd00::/8"]}]},
            "destinations": [{**PEER, "tls": {"certificate": "a.pem", "key": "a.key"}}],
            "rules": [
                {
                    "name": "a",
                    "when": {"ProcedureCodeSequence": {"exists": True}, "StudyDescription": {"regex": r"\bé"}},
                },
                {"name": "b", "when": {"SliceThickness": {"one_of": [1, 2.5]}, "Modality": "CT"}, "destinations": []},
            ],
        },
    )
    config = load_config(file)
    written = tmp_path / "elsewhere" / "config.yaml"
    write(config, written)
    write(config, written)
    assert load_config(written) == config
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert [path.name for path in written.parent.iterdir()] == ["config.yaml"]


def test_a_merge_at_fault_says_what_needs_the_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sbnode.service.settings.RELOADED", ("destinations",))
    new = Config(results={"fine": True}, destinations=[{**PEER, "objects": ["fine"]}])
    with pytest.raises(ConfigError, match=r"results\.fine need a restart.*set results\.fine to true"):
        merge(Config(), new)
