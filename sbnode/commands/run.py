"""`sbnode run`: a folder of DICOM files to the objects that the node would send."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from sbnode.config import Config, load_config
from sbnode.errors import ConfigError
from sbnode.terminal import ConfigOption, exit_codes, out, progress, scan

if TYPE_CHECKING:
    from sbnode.pipeline import Outcome
    from sbnode.series import Series

__all__ = ["run"]


class _Region(StrEnum):
    skull_base = "skull_base"
    all_bone = "all_bone"


def run(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DICOM_DIR", help="Folder with DICOM files; searched with all folders below it."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results; made when it isn't there.")],
    config: ConfigOption = None,
    series: Annotated[
        str | None,
        typer.Option("--series", help="Series Instance UID to process, instead of choosing the best series."),
    ] = None,
    region: Annotated[
        _Region | None,
        typer.Option("--region", help="What is wanted: the skull base, or every bone in the scan."),
    ] = None,
    fine: Annotated[
        bool,
        typer.Option("--fine", help="Also write bone.seg.nrrd, the bone on the fine grid, for 3D Slicer."),
    ] = False,
) -> None:
    """Process a folder of DICOM files: the same objects as the node would send.

    Writes [bold]seg.dcm[/bold], [bold]stl.dcm[/bold], [bold]sr.dcm[/bold], [bold]preview.dcm[/bold],
    [bold]surface.stl[/bold], [bold]preview.png[/bold] and [bold]result.json[/bold] (what was chosen and why,
    findings, model, volumes, openings, time of each stage), and [bold]fine.dcm[/bold] where results.fine is true.

    Example: [cyan]sbnode run /media/cdrom --out skull-base --fine[/cyan]
    """
    from sbnode import log

    with exit_codes():
        settings = load_config(config)
        if region is not None:
            settings = settings.model_copy(update={"region": region.value})
        log.configure(settings.log)
        study = scan(folder, series)
        outcome, written = _process(study, settings, out, fine)
        _summary(outcome, written, len(study) - 1)


def _process(study: list[Series], settings: Config, out: Path, fine: bool) -> tuple[Outcome, tuple[Path, ...]]:
    """Run the pipeline in a folder of its own and move what it made into ``out``: all of it or nothing."""
    from sbnode import pipeline

    models = pipeline.Models.open(settings)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: the folder can't be made ({error.strerror})") from error
    with tempfile.TemporaryDirectory(dir=out, prefix=".sbnode-") as unfinished, progress() as tell:
        outcome = pipeline.run(
            study,
            models,
            settings,
            Path(unfinished),
            made_at=datetime.now().astimezone(),
            progress=tell,
            with_fine=fine,
        )
        written = tuple(out / path.name for path in sorted(Path(unfinished).iterdir()))
        for path in written:
            os.replace(Path(unfinished) / path.name, path)
    return outcome, written


def _summary(outcome: Outcome, written: tuple[Path, ...], others: int) -> None:
    report = outcome.report
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("chosen", escape(f"{report.why} ({others} other series, reasons in result.json)"))
    table.add_row("region", report.region)
    table.add_row("bone", f"{report.volume_ml:.1f} mL, {report.inferred_share:.0%} of it inferred thin bone")
    for finding in (*report.findings, *report.flags):
        table.add_row("finding", escape(finding.message))
    table.add_row("model", f"{report.model.name} {report.model.version} on {report.provider}")
    times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items())
    table.add_row("time", f"{sum(report.seconds.values()):.1f} s ({times})")
    for path in written:
        table.add_row("written", escape(str(path)))
    out.print(table, highlight=False, soft_wrap=True)
    out.print("For research and education; not a medical device.", style="dim")
