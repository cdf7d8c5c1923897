"""The command line. Each command parses, calls one function of a lower room and turns its outcome into an
exit code.

What a command doesn't need is imported inside it, so that `sbnode --help` answers at once and so that the
metrics folder can be set before anything counts.
"""

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
from rich.text import Text

from sbnode import __version__
from sbnode.commands import sending
from sbnode.commands.compare import compare
from sbnode.config import Config, load_config
from sbnode.errors import ConfigError, SbnodeError, unusable
from sbnode.terminal import (
    GIVES,
    WORKS,
    ConfigOption,
    ExitCode,
    QueueId,
    complete_destinations,
    complete_dicom_destinations,
)
from sbnode.terminal import exit_codes as _exit_codes
from sbnode.terminal import out as _out
from sbnode.terminal import print_items as _print_items
from sbnode.terminal import progress as _progress
from sbnode.terminal import queue as _queue
from sbnode.terminal import scan as _scan

if TYPE_CHECKING:
    from sbnode.doctor import Observation
    from sbnode.explanation import Explanation
    from sbnode.pipeline import Outcome
    from sbnode.series import Series

__all__ = ["ExitCode", "app"]


class _Region(StrEnum):
    skull_base = "skull_base"
    all_bone = "all_bone"


app = typer.Typer(
    name="sbnode",
    help="""A DICOM node that returns the bone of the skull base: a head CT goes in, SEG and STL come out.

    Start with a folder of DICOM files: [bold]sbnode run FOLDER --out OUT[/bold]. To make it a node of your network,
    write a configuration, look at it with [bold]sbnode check[/bold] and start [bold]sbnode serve[/bold]. When something
    goes wrong, [bold]sbnode doctor[/bold] and [bold]sbnode jobs list --dead[/bold] say what and why.

    Example: [cyan]sbnode run /media/cdrom --out skull-base[/cyan]

    Example: [cyan]sbnode check -c config.yaml && sbnode serve -c config.yaml[/cyan]

    [bold]sbnode COMMAND --help[/bold] explains each command; [bold]sbnode --install-completion[/bold] has the shell
    complete commands, options, destinations and ids.

    For research and education; not a medical device.""",
    epilog=GIVES,
    rich_markup_mode="rich",
    no_args_is_help=True,
    # The local variables of a traceback may hold patient data.
    pretty_exceptions_enable=False,
)
jobs_app = typer.Typer(
    help="""Look at the jobs of the queue, and start dead letters and rejected studies again.

    Example: [cyan]sbnode jobs list --dead --config config.yaml[/cyan]""",
    no_args_is_help=True,
    epilog=WORKS,
)
app.add_typer(jobs_app, name="jobs")


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


@app.command(epilog=GIVES)
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

    with _exit_codes():
        settings = load_config(config)
        if region is not None:
            settings = settings.model_copy(update={"region": region.value})
        log.configure(settings.log)
        study = _scan(folder, series)
        outcome, written = _process(study, settings, out, fine)
        _summary(outcome, written, len(study) - 1)


@app.command(epilog=GIVES)
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

    with _exit_codes():
        settings = load_config(config)
        log.configure(settings.log)
        from sbnode.explanation import explain as explain_study

        studies: dict[str, list[Series]] = {}
        for series in _scan(folder, None):
            studies.setdefault(series.key.study_instance_uid, []).append(series)
        explained = [explain_study(study, settings, calling_ae_title) for study in studies.values()]
        for number, one in enumerate(explained, start=1):
            _print_explanation(number, one)
        if all(one.refusal is not None for one in explained):
            raise typer.Exit(ExitCode.NO_USABLE_SERIES)


def _print_explanation(number: int, explained: Explanation) -> None:
    def say(text: str, indent: int, style: str = "") -> None:
        _out.print(Text(" " * indent + text, style=style), highlight=False, soft_wrap=True)

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


@app.command(epilog=WORKS)
def serve(
    config: ConfigOption = None,
    no_worker: Annotated[
        bool,
        typer.Option("--no-worker", help="Receive only; start [bold]sbnode work[/bold] yourself."),
    ] = False,
) -> None:
    """Run the node: receive studies, process them, send the results.

    Answers C-ECHO and C-STORE on node.port and HTTP on status.port (/metrics, /healthz, /readyz). SIGTERM
    ends it in order; what is unfinished goes on at the next start.

    Example: [cyan]sbnode serve --config config.yaml[/cyan]
    """
    with _exit_codes():
        settings = _prepare(config)
        from sbnode import service

        service.serve(settings, config, with_worker=not no_worker)


@app.command(epilog=WORKS)
def work(
    config: ConfigOption = None,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
    adopt: Annotated[str | None, typer.Option("--adopt", hidden=True)] = None,
) -> None:
    """Run a worker alone: it takes studies from the queue, processes them and sends the results.

    [bold]sbnode serve[/bold] runs one itself. Another one needs another queue.worker in its configuration and
    the same spool. It also ends with 5, when the queue's database took no note of what it did: start it again.

    Example: [cyan]sbnode work --config worker-2.yaml[/cyan]
    """
    with _exit_codes():
        settings = _prepare(config)
        from sbnode import service

        if adopt is not None:
            service.adopt(settings, adopt)
        else:
            service.work(settings, config, supervised=supervised)


@app.command(epilog=WORKS)
def check(config: ConfigOption = None) -> None:
    """Look at everything that the node needs: configuration, models, spool, ports, destinations.

    Example: [cyan]sbnode check --config config.yaml[/cyan]
    """
    with _exit_codes():
        settings = load_config(config)
        from sbnode import log, service

        log.configure(settings.log)
        _out.print("[green]ok   [/green] configuration is valid")
        codes = [ExitCode.DONE]
        for item in service.check(settings):
            mark = "[green]ok   [/green]" if item.fault is None else "[red]fault[/red]"
            _out.print(f"{mark} {escape(item.name)}", highlight=False)
            if item.fault is not None:
                _out.print(f"      {escape(item.fault)}", highlight=False, soft_wrap=True)
                codes.append(ExitCode.CONFIGURATION if item.is_configuration else ExitCode.FAILED)
        # A fault of the configuration is the one to mend first.
        worst = ExitCode.CONFIGURATION if ExitCode.CONFIGURATION in codes else max(codes)
        if worst is not ExitCode.DONE:
            raise typer.Exit(worst)


@app.command(epilog=WORKS)
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
    with _exit_codes():
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
            _out.print(f"written: {out}", highlight=False, soft_wrap=True, markup=False)
        faults = [observation for observation in found.observations if observation.level == "fail"]
        if faults:
            wrong = any(observation.is_configuration for observation in faults)
            raise typer.Exit(ExitCode.CONFIGURATION if wrong else ExitCode.FAILED)


def _print_observation(observation: Observation) -> None:
    colour = {"ok": "green", "warn": "yellow", "fail": "red"}[observation.level]
    line = Text(f"{observation.level:<5}", style=colour) + Text(observation.name)
    _out.print(line + Text(f": {observation.seen}" if observation.seen else ""), highlight=False, soft_wrap=True)
    if observation.remedy:
        _out.print(Text(f"     {observation.remedy}", style="bold"), highlight=False, soft_wrap=True)


@app.command(epilog=WORKS)
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
    with _exit_codes():
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
            _out.print(f"{mark} {offer.name}" + (f": {syntaxes}" if syntaxes else ""), highlight=False)
        refused = refused_objects(destination.objects, offers)
        if refused:
            wanted = ", ".join(kind for kind in destination.objects if kind not in refused)
            _out.print(
                f"It refuses {', '.join(refused)}, which would become dead letters: set objects: [{wanted}] for it.",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
            raise typer.Exit(ExitCode.FAILED)


@jobs_app.command("list", epilog=WORKS)
def jobs_list(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 30,
    dead: Annotated[bool, typer.Option("--dead", help="Only dead letters and rejected studies.")] = False,
    held: Annotated[bool, typer.Option("--held", help="Only what shadow mode held back.")] = False,
) -> None:
    """List studies, jobs and deliveries, newest first.

    States: queued, running, done, held back, rejected, left alone, dead letter.

    Example: [cyan]sbnode jobs list --dead --config config.yaml[/cyan]
    """
    with _exit_codes(), _queue(config) as queue:
        if held:
            items = queue.held()[::-1][:limit]
        elif dead:
            from sbnode.jobs.client import FAULTS

            items = [item for item in queue.items() if item.state in FAULTS][:limit]
        else:
            items = queue.items(limit)
        _print_items(items)


@jobs_app.command("show", epilog=WORKS)
def jobs_show(
    id: QueueId,
    config: ConfigOption = None,
) -> None:
    """Show one study or job with everything that belongs to it.

    Example: [cyan]sbnode jobs show study-3f2a --config config.yaml[/cyan]
    """
    with _exit_codes(), _queue(config) as queue:
        items = queue.find(id)
        if not items:
            raise SbnodeError(f"the queue knows no study, job or delivery whose id begins with {id}")
        _print_items(items)


@jobs_app.command("retry", epilog=WORKS)
def jobs_retry(
    id: QueueId = "",
    config: ConfigOption = None,
    destination: Annotated[
        str,
        typer.Option(
            "--destination",
            metavar="NAME",
            help="All dead letters of this destination.",
            autocompletion=complete_destinations,
        ),
    ] = "",
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All dead letters.")] = False,
) -> None:
    """Start dead letters and rejected studies again: one delivery, all of a study or job, or all dead letters.

    Example: [cyan]sbnode jobs retry --destination archive --config config.yaml[/cyan]
    """
    if [bool(id), bool(destination), all_dead].count(True) != 1:
        raise typer.BadParameter("give one of ID, --destination and --all-dead")
    with _exit_codes(), _queue(config) as queue:
        started = queue.retry(id) if id else queue.retry_dead(destination or None)
        if not started:
            what = f"nothing whose id begins with {id} is or has a dead letter or was rejected"
            raise SbnodeError(what if id else f"there is no dead letter{destination and f' of {destination}'}")
        for name in started:
            _out.print(f"queued again: {name}", highlight=False, soft_wrap=True)


@jobs_app.command("rescan", epilog=WORKS)
def jobs_rescan(
    config: ConfigOption = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare its checksum.")] = False,
) -> None:
    """Put every study of the spool into the queue again, after the queue's database was lost.

    What the queue knows already changes nothing. Damaged files are reported; then the exit code is 4.

    Example: [cyan]sbnode jobs rescan --verify --config config.yaml[/cyan]
    """
    with _exit_codes():
        settings = _prepare(config)
        from sbnode import service

        scanned = list(service.rescan(settings, verify=verify))
        for study in scanned:
            said = f"damaged: {study.fault}" if study.fault else "queued, or known"
            _out.print(f"{study.name}: {study.instances} instances, {said}", highlight=False, soft_wrap=True)
        if any(study.fault for study in scanned):
            raise typer.Exit(ExitCode.FAILED)


def _prepare(config: Path | None) -> Config:
    """Load the configuration, set up the logs and the folder through which processes share their counters."""
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


def _process(study: list[Series], settings: Config, out: Path, fine: bool) -> tuple[Outcome, tuple[Path, ...]]:
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


app.command("compare", epilog=GIVES)(compare)
jobs_app.command("redo", epilog=WORKS)(sending.redo)
jobs_app.command("release", epilog=WORKS)(sending.release)
jobs_app.command("send", epilog=WORKS)(sending.send)


if __name__ == "__main__":
    app()
