"""The command line teaches: every command says what it does, shows an example and explains each of its options."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
import yaml

from sbnode.cli import ExitCode, app
from sbnode.shell import destination_names, queue_ids
from tests.conftest import REPOSITORY
from tests.test_cli import sbnode


def commands(command: click.Command, name: str = "sbnode") -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, groups first."""
    yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {word}")


COMMANDS = {name: command for name, command in commands(typer.main.get_command(app)) if not command.hidden}


def test_there_are_commands() -> None:
    assert {"sbnode", "sbnode serve", "sbnode doctor", "sbnode jobs", "sbnode jobs retry"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does_and_shows_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    first = command.help.strip().splitlines()[0]
    assert first[0].isupper()
    assert "." in command.help
    examples = re.findall(r"Example: \[cyan\](.*?)\[/cyan\]", command.help)
    assert examples
    assert any(example.startswith(f"{name} ") for example in examples)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_commands_and_options_that_there_are(name: str) -> None:
    for example in re.findall(r"Example: \[cyan\](.*?)\[/cyan\]", COMMANDS[name].help or ""):
        for part in example.split(" && "):
            words = part.split()
            called = max((known for known in COMMANDS if part.startswith(known)), key=len)
            known = {option for parameter in COMMANDS[called].params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= known, part


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_the_exit_codes_that_it_may_end_with(name: str) -> None:
    found = re.fullmatch(r"Exit codes: (.*)\.", COMMANDS[name].epilog or "")
    assert found
    for part in found[1].split(", "):
        number, _, meaning = part.partition(" ")
        assert ExitCode(int(number)).name.lower().replace("_", " ") == meaning


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_and_option_is_explained(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if not getattr(parameter, "hidden", False):
            said = getattr(parameter, "help", "")
            assert said, f"{name} {parameter.name}"
            assert said.rstrip().endswith("."), f"{name} {parameter.name}: {said}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_shown(name: str) -> None:
    code, text = sbnode(*name.split()[1:], "--help")
    assert code == 0
    assert "Exit codes" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "--config", "missing.yaml"), "missing.yaml: it can't be read"),
        (("serve", "--config", "missing.yaml"), "--config"),
        (("doctor", "--config", "missing.yaml"), "missing.yaml: it can't be read"),
        (("jobs", "list", "--config", "missing.yaml"), "missing.yaml: it can't be read"),
        (("check", "--config", "."), "it can't be read"),
        (("chekc",), "check"),
        (("jobs", "retri"), "retry"),
    ],
)
def test_what_is_missing_or_mistyped_is_named(arguments: tuple[str, ...], said: str) -> None:
    code, text = sbnode(*arguments)
    assert code == 2
    assert said in text


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """Two destinations and one of DICOMweb, and a study and a job in the spool."""
    peers = [{"name": name, "ae_title": "A", "host": "h", "port": 1} for name in ("archive", "printer")]
    path = tmp_path / "config.yaml"
    web = [{"name": "arcweb", "url": "https://h/dicom-web"}]
    path.write_text(yaml.safe_dump({"destinations": peers, "web_destinations": web, "spool": {"path": "spool"}}))
    (tmp_path / "spool" / "jobs").mkdir(parents=True)
    for name in ("study-3f2a", "0a1b"):
        (tmp_path / "spool" / "jobs" / f"{name}.json").write_text("{}")
    return path


def complete(*words: str) -> list[str]:
    """What bash is offered for the last word."""
    environment = {
        **os.environ,
        "_SBNODE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    program = "from sbnode.cli import app; app(prog_name='sbnode')"
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    return finished.stdout.split()


def test_the_shell_completes_commands_destinations_and_ids(configuration: Path) -> None:
    assert complete("sbnode", "ex") == ["explain"]
    assert complete("sbnode", "jobs", "re") == ["retry", "rescan", "redo", "release"]
    assert complete("sbnode", "probe", "--config", str(configuration), "arc") == ["archive"], (
        "it asks no web destination"
    )
    for command in (("retry", "--destination"), ("send", "--to")):
        assert complete("sbnode", "jobs", command[0], "-c", str(configuration), command[1], "arc") == [
            "archive",
            "arcweb",
        ]
    assert complete("sbnode", "jobs", "retry", "--config", str(configuration), "study") == ["study-3f2a"]


def test_a_completion_makes_nothing_and_complains_of_nothing(tmp_path: Path, configuration: Path) -> None:
    assert destination_names(configuration, "") == ["archive", "arcweb", "printer"]
    assert queue_ids(configuration, "") == ["0a1b", "study-3f2a"]
    assert destination_names(tmp_path / "missing.yaml", "") == []
    configuration.write_text("spool: {path: elsewhere}\n")
    assert queue_ids(configuration, "") == []
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("shell", "said"), [("bash", "complete -o default"), ("zsh", "#compdef"), ("fish", "complete ")]
)
def test_the_script_of_a_shell_is_shown(shell: str, said: str) -> None:
    """By the variable, for no shell runs here that ``--show-completion`` could look for."""
    program = "from sbnode.cli import app; app(prog_name='sbnode')"
    environment = {**os.environ, "_SBNODE_COMPLETE": f"source_{shell}"}
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert said in finished.stdout


def test_completion_is_offered() -> None:
    assert "--install-completion" in sbnode("--help")[1]
