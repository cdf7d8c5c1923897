"""`sbnode explain`: what the node would do with studies, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sbnode.config import load_config
from sbnode.terminal import ConfigOption, ExitCode, exit_codes, out, scan

if TYPE_CHECKING:
    from sbnode.explanation import Explanation
    from sbnode.series import Series

__all__ = ["explain"]


def explain(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DICOM_DIR", help="Folder with DICOM files; searched with all folders below it."),
    ],
    config: ConfigOption = None,
    calling_ae_title: Annotated[
        str, typer.Option("--from", metavar="AE_TITLE", help="The sender; else what the files name as their source.")
    ] = "",
) -> None:
    """Say what the node would do with each study of a folder, and why: rules, series, destinations.

    Nothing is processed or sent, and no model is needed, so a scan without a skull base is not found out. The output
    quotes values of the files. Ends with 3 when no study would be processed.

    Example: [cyan]sbnode explain /media/cdrom --config config.yaml --from CT_ER[/cyan]
    """
    from sbnode import log

    with exit_codes():
        settings = load_config(config)
        log.configure(settings.log)
        from sbnode.explanation import explain as explain_study

        studies: dict[str, list[Series]] = {}
        for series in scan(folder, None):
            studies.setdefault(series.key.study_instance_uid, []).append(series)
        explained = [explain_study(study, settings, calling_ae_title) for study in studies.values()]
        for number, one in enumerate(explained, start=1):
            _print_explanation(number, one)
        if all(one.refusal is not None for one in explained):
            raise typer.Exit(ExitCode.NO_USABLE_SERIES)


def _print_explanation(number: int, explained: Explanation) -> None:
    def say(text: str, indent: int, style: str = "") -> None:
        out.print(Text(" " * indent + text, style=style), highlight=False, soft_wrap=True)

    say(f"study {number}", 0, "bold")
    for series in explained.series:
        say(series.title, 2)
        for line in series.rules:
            say(line, 4)
        say(f"{'chosen' if series.chosen else 'not chosen'}: {series.why}", 4, "green" if series.chosen else "")
    for line in explained.outcome:
        say(line, 2)
    if explained.refusal is not None:
        say("gives no result", 2, "yellow")
