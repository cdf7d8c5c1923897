"""`sbnode check`: whether everything is there that the node needs."""

from __future__ import annotations

import typer
from rich.markup import escape

from sbnode.config import load_config
from sbnode.terminal import ConfigOption, ExitCode, exit_codes, out

__all__ = ["check"]


def check(config: ConfigOption = None) -> None:
    """Look at everything that the node needs: configuration, models, spool, ports, destinations.

    Example: [cyan]sbnode check --config config.yaml[/cyan]
    """
    with exit_codes():
        settings = load_config(config)
        from sbnode import log, service

        log.configure(settings.log)
        out.print("[green]ok   [/green] configuration is valid")
        codes = [ExitCode.DONE]
        for item in service.check(settings):
            mark = "[green]ok   [/green]" if item.fault is None else "[red]fault[/red]"
            out.print(f"{mark} {escape(item.name)}", highlight=False)
            if item.fault is not None:
                out.print(f"      {escape(item.fault)}", highlight=False, soft_wrap=True)
                codes.append(ExitCode.CONFIGURATION if item.is_configuration else ExitCode.FAILED)
        # A fault of the configuration is the one to mend first.
        worst = ExitCode.CONFIGURATION if ExitCode.CONFIGURATION in codes else max(codes)
        if worst is not ExitCode.DONE:
            raise typer.Exit(worst)
