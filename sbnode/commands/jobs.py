"""`sbnode jobs list`, `show`, `retry` and `rescan`: what is in the queue, and starting it again."""

from __future__ import annotations

from typing import Annotated

import typer

from sbnode.errors import SbnodeError
from sbnode.terminal import (
    ConfigOption,
    ExitCode,
    OfDestination,
    QueueId,
    exit_codes,
    out,
    prepare,
    print_items,
    queue,
)

__all__ = ["list_items", "rescan", "retry", "show"]


def list_items(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 30,
    dead: Annotated[bool, typer.Option("--dead", help="Only dead letters and rejected studies.")] = False,
    held: Annotated[bool, typer.Option("--held", help="Only what shadow mode held back.")] = False,
    dismissed: Annotated[bool, typer.Option("--dismissed", help="Only what somebody dismissed, and why.")] = False,
) -> None:
    """List studies, jobs and deliveries, newest first.

    States: queued, running, done, held back, rejected, left alone, dead letter, dismissed.

    Example: [cyan]sbnode jobs list --dead --config config.yaml[/cyan]
    """
    with exit_codes(), queue(config) as client:
        from sbnode.jobs.client import DISMISSED, FAULTS

        wanted = (*(FAULTS if dead else ()), *((DISMISSED,) if dismissed else ()))
        if held:
            items = client.held()[::-1][:limit]
        elif wanted:
            items = [item for item in client.items() if item.state in wanted][:limit]
        else:
            items = client.items(limit)
        print_items(items)


def show(
    id: QueueId,
    config: ConfigOption = None,
) -> None:
    """Show one study or job with everything that belongs to it.

    Example: [cyan]sbnode jobs show study-3f2a --config config.yaml[/cyan]
    """
    with exit_codes(), queue(config) as client:
        items = client.find(id)
        if not items:
            raise SbnodeError(f"the queue knows no study, job or delivery whose id begins with {id}")
        print_items(items)


def retry(
    id: QueueId = "",
    config: ConfigOption = None,
    destination: OfDestination = "",
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All dead letters.")] = False,
    dismissed: Annotated[
        bool, typer.Option("--dismissed", help="Also what was dismissed; a whole ID doesn't need it.")
    ] = False,
) -> None:
    """Start dead letters and rejected studies again: one delivery, all of a study or job, or all dead letters.

    What was dismissed stays so, unless it is named by its whole id or asked for with [bold]--dismissed[/bold].

    Example: [cyan]sbnode jobs retry --destination archive --config config.yaml[/cyan]
    """
    if [bool(id), bool(destination), all_dead].count(True) != 1:
        raise typer.BadParameter("give one of ID, --destination and --all-dead")
    with exit_codes(), queue(config) as client:
        started = (
            client.retry(id, dismissed=dismissed) if id else client.retry_dead(destination or None, dismissed=dismissed)
        )
        if not started:
            what = f"nothing whose id begins with {id} is or has a dead letter or was rejected"
            left = {item.state for item in client.find(id)} if id else set()
            if left & {"dead letter", "rejected"}:
                what = f"nothing of {id} was started: somebody did that meanwhile, or its object is on its way already"
            elif "dismissed" in left:
                what += "; what was dismissed is started again by its whole id, or with --dismissed"
            raise SbnodeError(what if id else f"there is no dead letter{destination and f' of {destination}'}")
        for name in started:
            out.print(f"queued again: {name}", highlight=False, soft_wrap=True)


def rescan(
    config: ConfigOption = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare its checksum.")] = False,
) -> None:
    """Put every study of the spool into the queue again, after the queue's database was lost.

    What the queue knows already changes nothing. Damaged files are reported; then the exit code is 4.

    Example: [cyan]sbnode jobs rescan --verify --config config.yaml[/cyan]
    """
    with exit_codes():
        settings = prepare(config)
        from sbnode import service

        scanned = list(service.rescan(settings, verify=verify))
        for study in scanned:
            said = f"damaged: {study.fault}" if study.fault else "queued, or known"
            out.print(f"{study.name}: {study.instances} instances, {said}", highlight=False, soft_wrap=True)
        if any(study.fault for study in scanned):
            raise typer.Exit(ExitCode.FAILED)
