"""The command line: which commands there are. Each parses, calls one function of a lower room and turns its outcome
into an exit code.

What a command doesn't need is imported inside it, so that `sbnode --help` answers at once and so that the
metrics folder can be set before anything counts.
"""

from __future__ import annotations

from typing import Annotated

import typer

from sbnode import __version__
from sbnode.commands import dismissing, jobs, sending
from sbnode.commands.check import check
from sbnode.commands.compare import compare
from sbnode.commands.doctor import doctor
from sbnode.commands.explain import explain
from sbnode.commands.probe import probe
from sbnode.commands.run import run
from sbnode.commands.serve import serve, work
from sbnode.terminal import GIVES, WORKS, ExitCode

__all__ = ["ExitCode", "app"]

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
    help="""Look at the jobs of the queue, and start dead letters and rejected studies again, or dismiss them.

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


app.command(epilog=GIVES)(run)
app.command(epilog=GIVES)(explain)
app.command(epilog=WORKS)(serve)
app.command(epilog=WORKS)(work)
app.command(epilog=WORKS)(check)
app.command(epilog=WORKS)(doctor)
app.command(epilog=WORKS)(probe)
app.command(epilog=GIVES)(compare)
jobs_app.command("list", epilog=WORKS)(jobs.list_items)
jobs_app.command(epilog=WORKS)(jobs.show)
jobs_app.command(epilog=WORKS)(jobs.retry)
jobs_app.command(epilog=WORKS)(jobs.rescan)
jobs_app.command(epilog=WORKS)(dismissing.dismiss)
jobs_app.command(epilog=WORKS)(sending.redo)
jobs_app.command(epilog=WORKS)(sending.release)
jobs_app.command(epilog=WORKS)(sending.send)


if __name__ == "__main__":
    app()
