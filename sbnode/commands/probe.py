"""`sbnode probe`: what a destination takes."""

from __future__ import annotations

from typing import Annotated

import typer

from sbnode.config import load_config
from sbnode.errors import ConfigError
from sbnode.terminal import ConfigOption, ExitCode, complete_dicom_destinations, exit_codes, out

__all__ = ["probe"]


def probe(
    name: Annotated[
        str,
        typer.Argument(help="Name of a destination in the configuration.", autocompletion=complete_dicom_destinations),
    ],
    config: ConfigOption = None,
) -> None:
    """Ask a destination which objects it takes, and in which transfer syntaxes. Nothing is sent.

    Example: [cyan]sbnode probe archive --config config.yaml[/cyan]
    """
    with exit_codes():
        settings = load_config(config)
        from sbnode import log
        from sbnode.scu.probe import probe, refused_objects

        log.configure(settings.log)
        destination = next((d for d in settings.destinations if d.name == name), None)
        if destination is None:
            if any(d.name == name for d in settings.web_destinations):
                raise ConfigError(f"'{name}' is a web destination, which negotiates nothing; sbnode check looks at it")
            known = ", ".join(d.name for d in settings.destinations) or "none"
            raise ConfigError(f"no destination is named '{name}'; the configuration has: {known}")
        offers = probe(destination, destination.calling_ae_title or settings.node.ae_title)
        for offer in offers:
            mark = "[green]takes  [/green]" if offer.syntaxes else "[yellow]refuses[/yellow]"
            syntaxes = ", ".join(syntax.name for syntax in offer.syntaxes)
            out.print(f"{mark} {offer.name}" + (f": {syntaxes}" if syntaxes else ""), highlight=False)
        refused = refused_objects(destination.objects, offers)
        if refused:
            wanted = ", ".join(kind for kind in destination.objects if kind not in refused)
            out.print(
                f"It refuses {', '.join(refused)}, which would become dead letters: set objects: [{wanted}] for it.",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
            raise typer.Exit(ExitCode.FAILED)
