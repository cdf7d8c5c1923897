"""The command line. Each command parses, calls one function of a lower room and turns its outcome into an
exit code.

What a command doesn't need is imported inside it, so that `sbnode --help` answers at once and so that the
metrics folder can be set before anything counts.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from sbnode import __version__
from sbnode.config import Config, load_config
from sbnode.errors import ConfigError, ModelError, SbnodeError, SeriesError

if TYPE_CHECKING:
    from sbnode.pipeline import Outcome
    from sbnode.series import Series

__all__ = ["ExitCode", "app"]


class ExitCode(IntEnum):
    """What the command line ends with."""

    DONE = 0
    CONFIGURATION = 2
    NO_USABLE_SERIES = 3
    FAILED = 4


class _Region(StrEnum):
    skull_base = "skull_base"
    all_bone = "all_bone"


app = typer.Typer(
    name="sbnode",
    help="""A DICOM node that returns the bone of the skull base: a head CT goes in, SEG and STL come out.

    Start with [bold]sbnode run FOLDER --out OUT[/bold] on a folder of DICOM files; with
    [bold]sbnode check[/bold] and [bold]sbnode serve[/bold] it becomes a node of your network.

    Exit codes: 0 done, 2 configuration, 3 no usable series, 4 failed.
    For research and education; not a medical device.""",
    rich_markup_mode="rich",
    no_args_is_help=True,
    # The local variables of a traceback may hold patient data.
    pretty_exceptions_enable=False,
)
jobs_app = typer.Typer(
    help="Look at the jobs of the queue, and start dead letters again.", no_args_is_help=True
)
app.add_typer(jobs_app, name="jobs")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The configuration (YAML). Without it every setting has its default.",
        metavar="FILE",
    ),
]

_out = Console()
_err = Console(stderr=True)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sbnode {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn what is raised inside into a message on standard error and an exit code."""
    try:
        yield
    except (ConfigError, ModelError) as error:
        _fail("configuration", error, ExitCode.CONFIGURATION)
    except SeriesError as error:
        _fail("no usable series", error, ExitCode.NO_USABLE_SERIES)
    except SbnodeError as error:
        _fail("failed", error, ExitCode.FAILED)
    except (typer.Exit, KeyboardInterrupt):
        raise
    except Exception as error:
        traceback.print_exc()
        _fail("failed", error, ExitCode.FAILED)


def _fail(kind: str, error: Exception, code: ExitCode) -> None:
    _err.print(f"[bold red]{kind}:[/bold red] ", end="")
    _err.print(str(error) or type(error).__name__, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code) from error


@app.command()
def run(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DICOM_DIR", help="Folder with DICOM files; searched with all folders below it."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results; made when it isn't there.")
    ],
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

    Writes [bold]seg.dcm[/bold], [bold]stl.dcm[/bold], [bold]surface.stl[/bold], [bold]preview.png[/bold] and
    [bold]result.json[/bold] (what was chosen and why, findings, model, volumes, time of each stage).

    Example: [cyan]sbnode run /media/cdrom --out skull-base --fine[/cyan]
    """
    from sbnode import log

    with _exit_codes():
        settings = load_config(config)
        if region is not None:
            settings = settings.model_copy(update={"region": region.value})
        log.configure(settings.log)
        study = _scan(folder, series)
        outcome, written = _process(study, settings, out, fine)
        _summary(outcome, written, len(study) - 1)


def _scan(folder: Path, wanted: str | None) -> list[Series]:
    """Return the series in ``folder``, or the one that is wanted; say how many files were no DICOM."""
    from sbnode.errors import NoUsableSeries
    from sbnode.series import Instance, Series, SeriesKey, read_instance

    if not folder.is_dir():
        raise NoUsableSeries(f"{folder} is not a folder; give the folder that holds the DICOM files")
    found: dict[SeriesKey, list[Instance]] = {}
    skipped = 0
    with _err.status(f"Reading headers in {folder}"):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                instance = read_instance(path)
            except ValueError:
                skipped += 1
                continue
            found.setdefault(instance.key, []).append(instance)
    if skipped:
        _err.print(f"{skipped} files are not DICOM images and were skipped", highlight=False)
    study = [Series.of(key, instances) for key, instances in found.items()]
    if not study:
        raise NoUsableSeries(f"{folder} holds no DICOM image")
    if wanted is None:
        return study
    chosen = [series for series in study if series.key.series_instance_uid == wanted]
    if not chosen:
        uids = "\n  ".join(sorted(series.key.series_instance_uid for series in study))
        raise NoUsableSeries(f"{folder} holds no series {wanted}; it holds\n  {uids}")
    return chosen


def _process(
    study: list[Series], settings: Config, out: Path, fine: bool
) -> tuple[Outcome, tuple[Path, ...]]:
    """Run the pipeline in a folder of its own and move what it made into ``out``: all of it or nothing."""
    from sbnode import pipeline

    models = pipeline.Models.open(settings)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: the folder can't be made ({error.strerror})") from error
    with tempfile.TemporaryDirectory(dir=out, prefix=".sbnode-") as unfinished, _progress() as tell:
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


class _Stages:
    """One line of progress per stage."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, share: float) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=1.0)
        self._bars.update(self._tasks[stage], completed=share)


@contextmanager
def _progress() -> Iterator[_Stages]:
    columns = (SpinnerColumn(), TextColumn("{task.description:<13}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_err, disable=not sys.stderr.isatty()) as bars:
        yield _Stages(bars)


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
    _out.print(table, highlight=False, soft_wrap=True)
    _out.print("For research and education; not a medical device.", style="dim")


if __name__ == "__main__":
    app()
