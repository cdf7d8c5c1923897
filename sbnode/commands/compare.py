"""`sbnode compare`: two configurations on the same stored series."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from sbnode.config import Config, load_config
from sbnode.errors import ConfigError, NoUsableSeries
from sbnode.terminal import ConfigOption, ExitCode, err, exit_codes, out, scan

if TYPE_CHECKING:
    from sbnode.comparison import Comparison
    from sbnode.series import Series

__all__ = ["compare"]

Studies = dict[str, Sequence["Series"]]

_COLUMNS = {0: "study", 1: "A, mL", 2: "B, mL", 4: "Dice", 5: "mean, mm", 6: "95 %, mm", 7: "longest, mm"}
"""Of the overview, what a terminal has room for."""


def compare(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...",
            help="Folders of DICOM files, or ids of studies or jobs in the spool, or beginnings of ids.",
        ),
    ],
    other: Annotated[Path, typer.Option("--with", metavar="FILE", help="Configuration B. A is that of --config.")],
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report; made when it isn't there.")],
    config: ConfigOption = None,
) -> None:
    """Compare two models or settings on the same stored series. Nothing is sent; the spool stays as it is.

    Writes [bold]report.html[/bold], to look at or print, and [bold]report.json[/bold]: what differs between the
    configurations, volumes, surface distance, tunnels, openings, findings, times, pictures of the largest differences.
    It names no patient, but shows pictures of the scan. Takes as long as processing each study twice.

    Ends with 4 when A or B gives no result for some study, with 3 when no study could be compared.

    Example: [cyan]sbnode compare -c config.yaml --with new-model.yaml --out report study-3fa9 /media/cdrom[/cyan]
    """
    from sbnode import log

    with exit_codes():
        a, b = load_config(config), load_config(other)
        log.configure(a.log)
        found: Studies = {}
        for name in studies:
            found.update(_folder(Path(name)) if Path(name).is_dir() else _stored(name, a))
        comparison = _compare(found, a, b, folder)
        _summary(comparison, folder)
        compared = [case.compared for case in comparison.cases]
        if not all(compared):
            raise typer.Exit(ExitCode.FAILED if any(compared) else ExitCode.NO_USABLE_SERIES)


def _folder(folder: Path) -> Studies:
    from sbnode.log import short_hash

    studies: dict[str, list[Series]] = {}
    for series in scan(folder, None):
        studies.setdefault(f"study {short_hash(series.key.study_instance_uid)}", []).append(series)
    return {**studies}


def _stored(name: str, config: Config) -> Studies:
    """Return the studies of the spool whose name in the queue, or the name of whose job, begins with ``name``."""
    from sbnode.jobs.manifest import Manifest
    from sbnode.spool import Spool

    path = config.spool.path
    if not (path / "incoming").is_dir():
        raise ConfigError(f"{name} is not a folder, and spool.path {path} holds no spool to look for it in")
    spool = Spool(path, config.spool.min_free_bytes)
    names = sorted(kept for all_kept in Manifest.names(spool).values() for kept in all_kept if kept.startswith(name))
    if not names:
        raise NoUsableSeries(
            f"{name} is neither a folder nor the beginning of an id in the spool; see sbnode jobs list"
        )
    return {kept: Manifest.read(spool, kept).study(spool) for kept in names}


def _compare(studies: Studies, a: Config, b: Config, folder: Path) -> Comparison:
    from sbnode import comparison

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: the folder can't be made ({error.strerror})") from error
    numbers = {label: f"study {number} of {len(studies)}" for number, label in enumerate(studies, start=1)}
    with err.status("Opening the models") as status:
        found = comparison.compare(
            studies,
            a,
            b,
            folder,
            made_at=datetime.now().astimezone(),
            tell=lambda label, step: status.update(f"{numbers[label]}, {step}"),
        )
        comparison.write(found, folder)
    return found


def _summary(comparison: Comparison, folder: Path) -> None:
    from sbnode.comparison.tables import overview, sentence

    table = Table(box=None, pad_edge=False)
    for column, heading in _COLUMNS.items():
        table.add_column(heading, overflow="fold", no_wrap=bool(column), justify="right" if column else "left")
    for row in overview(comparison).rows:
        table.add_row(*(Text(row[column]) for column in _COLUMNS))
    out.print(table)
    for case in comparison.cases:
        out.print(Text(f"{case.label}: {sentence(case)}"), highlight=False, soft_wrap=True)
    out.print(Text(f"written {folder / 'report.html'}, {folder / 'report.json'}"), soft_wrap=True)
    out.print("For research and education; not a medical device.", style="dim")
