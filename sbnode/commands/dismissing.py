"""`sbnode jobs dismiss`: putting away what failed and is left so on purpose."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from sbnode.config import Config, load_config
from sbnode.errors import SbnodeError, SpoolError
from sbnode.jobs.dismissal import REASONS, Reason
from sbnode.terminal import ConfigOption, OfDestination, QueueId, exit_codes, out, queue

if TYPE_CHECKING:
    from sbnode.jobs.client import Item

__all__ = ["dismiss"]

_WHY = "; ".join(f"{reason}: {said}" for reason, said in REASONS.items())
_NAMED = 5
"""So many studies or jobs are named when there are several."""


def dismiss(
    reason: Annotated[Reason, typer.Option("--reason", help=f"Why it is left. {_WHY}.")],
    id: QueueId = "",
    config: ConfigOption = None,
    destination: OfDestination = "",
) -> None:
    """Put away dead letters and rejected studies that are left on purpose: one delivery, or all of a study or job.

    They count as dead letters no more, and are deleted with their study as what is done, its days counted from now. An
    ID that more than one study or job begins with is refused.
    [bold]sbnode jobs list --dismissed[/bold] lists them. [bold]sbnode jobs retry[/bold] starts them again. The audit
    trail, where one is configured, keeps who did it.

    Example: [cyan]sbnode jobs dismiss 0f3c --reason not_needed --config config.yaml[/cyan]
    """
    if bool(id) == bool(destination):
        raise typer.BadParameter("give an ID or --destination")
    with exit_codes(), queue(config) as client, _records(load_config(config), reason) as record:
        found = client.find(id) if id else [one for one in client.dead_letters() if one.destination == destination]
        if id:
            _require_one(found, id)
        # One by one: should this process end in between, what was dismissed is recorded, and the rest isn't dismissed.
        dismissed = False
        for item in found:
            for one in client.dismiss([item], reason):
                record(one)
                dismissed = True
                out.print(f"dismissed: {one.id}", highlight=False, soft_wrap=True)
        if not dismissed:
            what = f"nothing whose id begins with {id} is or has a dead letter or was rejected"
            raise SbnodeError(what if id else f"there is no dead letter of {destination}")


def _require_one(found: Sequence[Item], id: str) -> None:
    """Raise SbnodeError where what was found is of more than one study, or of jobs of none of them."""
    studies = {one.id: one.job for one in found if one.kind == "study"}
    jobs = {one.job for one in found if one.kind != "study"} - set(studies.values())
    owners = sorted({*studies, *jobs})
    if len(owners) > 1:
        more = f" and {len(owners) - _NAMED} more" if len(owners) > _NAMED else ""
        named = ", ".join(owners[:_NAMED])
        raise SbnodeError(f"{len(owners)} studies or jobs have an id that begins with {id}: {named}{more}; name one")


@contextmanager
def _records(settings: Config, reason: Reason) -> Iterator[Callable[[Item], None]]:
    """Open the audit trail; yield what notes there and in the log that somebody dismissed an item.

    Raises:
        ConfigError, SpoolError: what is done can't be recorded, so it isn't begun.
    """
    from sbnode import log
    from sbnode.audit import Audit, Participant
    from sbnode.jobs.manifest import Manifest
    from sbnode.spool import Spool

    person, spool = Participant(_person(), socket.gethostname()), Spool(settings.spool.path, 0)

    def record(item: Item) -> None:
        study = None
        with suppress(SpoolError):
            study = Manifest.read(spool, item.id.split(".")[0]).study_instance_uid
        audit.dismissed(person, study, reason.value)
        log.get_logger().info("dismissed", item=item.id, reason=reason.value, address=person.address)

    audit = Audit.open(settings.audit, settings.node.ae_title)
    try:
        audit.require()
        yield record
    finally:
        audit.close()


def _person() -> str:
    """The account of who runs this; with sudo, the one that it was called from."""
    user = os.getuid()
    called_from = os.environ.get("SUDO_USER", "")
    with suppress(KeyError):
        # Anybody may set a variable: only root's is sudo's, and it must fit.
        if os.geteuid() == 0 and str(pwd.getpwnam(called_from).pw_uid) == os.environ.get("SUDO_UID"):
            return called_from
    with suppress(KeyError):
        return pwd.getpwuid(user).pw_name
    return f"user {user}"
