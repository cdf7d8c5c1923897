"""`sbnode jobs redo`, `release` and `send`: doing again, and sending, what ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from sbnode.config import Config, load_config
from sbnode.errors import ConfigError, SbnodeError
from sbnode.spelling import meant
from sbnode.terminal import ConfigOption, QueueId, complete_destinations, exit_codes, out, queue

if TYPE_CHECKING:
    from sbnode.jobs.client import JobClient

__all__ = ["redo", "release", "send"]


def redo(id: QueueId, config: ConfigOption = None) -> None:
    """Choose and process a finished study again, with the settings, models and rules of now.

    Where these would give another result, a new job is made and sent; where they wouldn't, the results that are there
    stay and nothing is sent ([bold]sbnode jobs send[/bold] does that). What ended without results is tried again.
    Calling it twice makes nothing twice.

    Example: [cyan]sbnode jobs redo study-3fa9 --config config.yaml[/cyan]
    """
    with exit_codes(), queue(config) as client:
        started = client.redo(id)
        if not started:
            raise SbnodeError(f"the queue knows no study or job whose id begins with {id}")
        for study in started:
            out.print(f"queued again: {study}", highlight=False, soft_wrap=True)


def release(
    id: QueueId = "",
    config: ConfigOption = None,
    all_held: Annotated[bool, typer.Option("--all", help="What was held back of all studies.")] = False,
) -> None:
    """Send what shadow mode held back: one delivery, all of a study or job, or all.

    Each goes to the destination that it was held back from, while shadow mode is on too. Of a study that was processed
    several times, with other settings say, [bold]--all[/bold] sends the results of the last time, and names the rest.

    Example: [cyan]sbnode jobs release 0f3c --config config.yaml[/cyan]
    """
    if bool(id) == all_held:
        raise typer.BadParameter("give an ID or --all")
    with exit_codes(), queue(config) as client:
        known = [one.name for one in load_config(config).all_destinations]
        held = client.held(id)
        gone = sorted({item.destination for item in held} - set(known))
        if gone:
            raise ConfigError(f"held back for {', '.join(gone)}, which the configuration no longer names")
        if not held:
            raise SbnodeError(f"nothing whose id begins with {id} is held back" if id else "nothing is held back")
        current = client.current_jobs() if all_held else {item.job for item in held}
        _report(client, (item.id.split(".")[:3] for item in held if item.job in current))
        for job, number in Counter(item.job for item in held if item.job not in current).items():
            said = f"left: {job} ({number} held back), for its study doesn't name it now"
            out.print(f"{said}; sbnode jobs release {job} sends it", highlight=False, soft_wrap=True)


def send(
    id: QueueId,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="NAME",
            help="Name of a destination in the configuration.",
            autocompletion=complete_destinations,
        ),
    ],
    config: ConfigOption = None,
) -> None:
    """Send the results of a study or job to one destination, whatever its rules say: once more, or for the first time.

    They are the same objects with the same UIDs, so an archive that has them keeps one. Shadow mode doesn't hold them.

    Example: [cyan]sbnode jobs send 0f3c --to archive --config config.yaml[/cyan]
    """
    with exit_codes(), queue(config) as client:
        objects = _objects(load_config(config), to)
        jobs = client.jobs(id)
        if not jobs:
            raise SbnodeError(f"no job whose id begins with {id} has results in the spool")
        _report(client, ((job, to, kind) for job in jobs for kind in objects))


def _objects(config: Config, name: str) -> tuple[str, ...]:
    found = {one.name: one.objects for one in config.all_destinations}
    if name not in found:
        raise ConfigError(
            f"no destination is named '{name}'{meant(name, found)}; the configuration has: {', '.join(found) or 'none'}"
        )
    return found[name]


def _report(client: JobClient, deliveries: Iterable[Iterable[str]]) -> None:
    for job, destination, kind in deliveries:
        name = f"{job}.{destination}.{kind}"
        if not client.has_made(job, kind):
            out.print(f"not in the results: {name}", highlight=False, soft_wrap=True)
            continue
        sent = client.send(job, destination, kind)
        said = f"queued: {sent}" if sent else f"on its way already: {name}"
        out.print(said, highlight=False, soft_wrap=True)
