"""`sbnode serve` and `work`: the processes of the node."""

from __future__ import annotations

from typing import Annotated

import typer

from sbnode.terminal import ConfigOption, exit_codes, prepare

__all__ = ["serve", "work"]


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
    with exit_codes():
        settings = prepare(config)
        from sbnode import service

        service.serve(settings, config, with_worker=not no_worker)


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
    with exit_codes():
        settings = prepare(config)
        from sbnode import service

        if adopt is not None:
            service.adopt(settings, adopt)
        else:
            service.work(settings, config, supervised=supervised)
