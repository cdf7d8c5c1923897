"""`sbnode doctor`: what is wrong with a node, and the facts for whoever helps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sbnode.config import load_config
from sbnode.errors import ConfigError
from sbnode.terminal import ConfigOption, ExitCode, exit_codes, out

if TYPE_CHECKING:
    from sbnode.doctor import Observation

__all__ = ["doctor"]


def doctor(
    config: ConfigOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.tar.gz", help="Also write a bundle of all facts, without patient data."
        ),
    ] = None,
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log", metavar="FILE", help="The node's log; its records go into the bundle, other lines don't."
        ),
    ] = None,
    log_lines: Annotated[int, typer.Option("--lines", min=1, help="How many of its last lines are looked at.")] = 1000,
) -> None:
    """Say what is wrong with this node and its machine, and what to do; gather the facts for whoever helps.

    Looks at more than [bold]sbnode check[/bold]: device and space of the spool, memory, limits, clock, worker, queue,
    certificates, and whether the configuration is in force. Works while the node runs and while it doesn't, and
    changes nothing. Run it as the node's user.

    Example: [cyan]sbnode doctor --config config.yaml --out bundle.tar.gz[/cyan]
    """
    with exit_codes():
        from sbnode import log
        from sbnode.doctor import examine, write_bundle, write_machine_bundle

        try:
            settings = load_config(config)
        except ConfigError:
            if out is not None:
                write_machine_bundle(out)
            raise
        if log_file is not None and out is None:
            raise ConfigError("--log goes into a bundle: name one with --out FILE.tar.gz")
        log.configure(settings.log)
        found = examine(settings, _print_observation)
        if out is not None:
            write_bundle(found, out, log_file, log_lines)
            _say_written(out)
        faults = [observation for observation in found.observations if observation.level == "fail"]
        if faults:
            wrong = any(observation.is_configuration for observation in faults)
            raise typer.Exit(ExitCode.CONFIGURATION if wrong else ExitCode.FAILED)


def _say_written(bundle: Path) -> None:
    out.print(f"written: {bundle}", highlight=False, soft_wrap=True, markup=False)


def _print_observation(observation: Observation) -> None:
    colour = {"ok": "green", "warn": "yellow", "fail": "red"}[observation.level]
    line = Text(f"{observation.level:<5}", style=colour) + Text(observation.name)
    out.print(line + Text(f": {observation.seen}" if observation.seen else ""), highlight=False, soft_wrap=True)
    if observation.remedy:
        out.print(Text(f"     {observation.remedy}", style="bold"), highlight=False, soft_wrap=True)
