"""What the commands share: consoles, exit codes, the queue and the files that they are given, progress.

What a command doesn't need is imported where it is needed, so that `sbnode --help` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sbnode.config import Config, load_config
from sbnode.errors import ConfigError, ModelError, SbnodeError, SeriesError, unusable
from sbnode.shell import destination_names, queue_ids

if TYPE_CHECKING:
    from sbnode.jobs.client import Item, JobClient
    from sbnode.series import Series

__all__ = [
    "GIVES",
    "WORKS",
    "ConfigOption",
    "ExitCode",
    "OfDestination",
    "QueueId",
    "Stages",
    "complete_destinations",
    "complete_dicom_destinations",
    "err",
    "exit_codes",
    "out",
    "prepare",
    "print_items",
    "progress",
    "queue",
    "scan",
]


class ExitCode(IntEnum):
    """What the command line ends with."""

    DONE = 0
    CONFIGURATION = 2
    NO_USABLE_SERIES = 3
    FAILED = 4


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The configuration (YAML). Without it every setting has its default.",
        metavar="FILE",
    ),
]


def complete_destinations(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a destination."""
    return destination_names(context.params.get("config"), incomplete)


def complete_dicom_destinations(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a destination that is sent to by C-STORE."""
    return destination_names(context.params.get("config"), incomplete, web=False)


def _complete_ids(context: typer.Context, incomplete: str) -> list[str]:
    return queue_ids(context.params.get("config"), incomplete)


_ID = typer.Argument(
    metavar="ID", help="Id of a study, job or delivery, or the beginning of one.", autocompletion=_complete_ids
)
QueueId = Annotated[str, _ID]
OfDestination = Annotated[
    str,
    typer.Option(
        "--destination",
        metavar="NAME",
        help="All dead letters of this destination.",
        autocompletion=complete_destinations,
    ),
]

out = Console()
err = Console(stderr=True)
_WIDE = 400
"""Columns of a table that goes into a file or a pipe."""


def exits(*codes: ExitCode) -> str:
    """Return the last line of a command's help."""
    meanings = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in codes)
    return f"Exit codes: {meanings}."


WORKS = exits(ExitCode.DONE, ExitCode.CONFIGURATION, ExitCode.FAILED)
GIVES = exits(*ExitCode)


@contextmanager
def exit_codes() -> Iterator[None]:
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
    err.print(f"[bold red]{kind}:[/bold red] ", end="")
    err.print(str(error) or type(error).__name__, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code) from error


def prepare(config: Path | None) -> Config:
    """Load the configuration of a process of the node; set up its logs and the folder of the counters that they share.

    Raises as `load_config` does, and ConfigError or SpoolError where the folder can't be made.
    """
    from sbnode import log

    settings = load_config(config)
    log.configure(settings.log)
    folder = settings.spool.path.resolve() / "metrics"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(f"spool.path: {settings.spool.path}", error) from error
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    return settings


@contextmanager
def queue(config: Path | None) -> Iterator[JobClient]:
    """Open the queue of this configuration; raises as `load_config` and `JobClient` do."""
    settings = load_config(config)
    from sbnode import log
    from sbnode.jobs.client import JobClient
    from sbnode.spool import Spool

    log.configure(settings.log)
    client = JobClient(settings, Spool(settings.spool.path, settings.spool.min_free_bytes))
    try:
        yield client
    finally:
        client.close()


def print_items(items: Sequence[Item]) -> None:
    """Print what the queue holds as a table."""
    kinds = {"study": "study", "process": "job", "deliver": "delivery", "prove": "proof"}
    colours = {
        "done": "green",
        "running": "cyan",
        "dead letter": "red",
        "rejected": "yellow",
        "left alone": "dim",
        "dismissed": "dim",
    }
    colours["held back"] = "magenta"
    table = Table(box=None, pad_edge=False)
    for heading in ("created", "kind", "id", "state", "reason"):
        table.add_column(heading, no_wrap=heading not in ("id", "reason"), overflow="fold")
    for item in items:
        table.add_row(
            item.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            kinds[item.kind],
            item.id,
            Text(item.state, style=colours.get(item.state, "")),
            Text(item.reason),
        )
    # A file or a pipe has no width: there, nothing is cut or folded.
    (out if out.is_terminal else Console(width=_WIDE)).print(table)


def scan(folder: Path, wanted: str | None) -> list[Series]:
    """Return the series in ``folder``, or the one that is wanted; say how many files were no DICOM."""
    from sbnode.errors import NoUsableSeries
    from sbnode.series import Instance, Series, SeriesKey, read_instance

    if not folder.is_dir():
        raise NoUsableSeries(f"{folder} is not a folder; give the folder that holds the DICOM files")
    found: dict[SeriesKey, list[Instance]] = {}
    skipped = 0
    with err.status(f"Reading headers in {folder}"):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                instance = read_instance(path)
            except ValueError:
                skipped += 1
                continue
            found.setdefault(instance.key, []).append(instance)
    if skipped:
        err.print(f"{skipped} files are not DICOM images and were skipped", highlight=False)
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


class Stages:
    """One line of progress per stage."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, share: float) -> None:
        """Show that ``share`` (0..1) of a stage is done."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=1.0)
        self._bars.update(self._tasks[stage], completed=share)


@contextmanager
def progress() -> Iterator[Stages]:
    """Show the progress of stages on standard error, where that is a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description:<13}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not sys.stderr.isatty()) as bars:
        yield Stages(bars)
