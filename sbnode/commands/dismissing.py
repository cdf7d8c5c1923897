"""`sbnode jobs dismiss`: putting away what failed and is left so on purpose."""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import suppress
from typing import Annotated

import typer

from sbnode.config import Config, load_config
from sbnode.errors import SbnodeError, SpoolError
from sbnode.jobs.dismissal import REASONS, Reason
from sbnode.terminal import ConfigOption, QueueId, complete_destinations, exit_codes, out, queue

__all__ = ["dismiss"]

_WHY = "; ".join(f"{reason}: {said}" for reason, said in REASONS.items())


def dismiss(
    reason: Annotated[Reason, typer.Option("--reason", help=f"Why it is left. {_WHY}.")],
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
) -> None:
    """Put away dead letters and rejected studies that are left on purpose: one delivery, or all of a study or job.

    They no longer count in metrics and alerts, and are deleted with their study as what is done.
    [bold]sbnode jobs list --dismissed[/bold] lists them. [bold]sbnode jobs retry[/bold] takes it back. The audit trail
    keeps who did it.

    Example: [cyan]sbnode jobs dismiss 0f3c --reason not_needed --config config.yaml[/cyan]
    """
    if bool(id) == bool(destination):
        raise typer.BadParameter("give an ID or --destination")
    with exit_codes(), queue(config) as client:
        found = client.find(id) if id else [one for one in client.dead_letters() if one.destination == destination]
        dismissed = client.dismiss(found, reason)
        if not dismissed:
            what = f"nothing whose id begins with {id} is or has a dead letter or was rejected"
            raise SbnodeError(what if id else f"there is no dead letter of {destination}")
        _record(load_config(config), [one.id for one in dismissed], reason)
        for one in dismissed:
            out.print(f"dismissed: {one.id}", highlight=False, soft_wrap=True)


def _record(settings: Config, names: list[str], reason: Reason) -> None:
    """Note in log and audit trail who did it, once for each study or job."""
    from sbnode import log
    from sbnode.audit import Audit, Participant
    from sbnode.jobs.manifest import Manifest
    from sbnode.spool import Spool

    person = Participant(_person(), socket.gethostname())
    spool = Spool(settings.spool.path, settings.spool.min_free_bytes)
    audit = Audit.open(settings.audit, settings.node.ae_title)
    try:
        for name in names:
            log.get_logger().info("dismissed", item=name, reason=reason.value, address=person.address)
        for name in dict.fromkeys(name.split(".")[0] for name in names):
            study = None
            with suppress(SpoolError):
                study = Manifest.read(spool, name).study_instance_uid
            audit.dismissed(person, study, reason.value)
    finally:
        audit.close()


def _person() -> str:
    """The account of who runs this; with sudo, the one that it was called from."""
    with suppress(KeyError):
        return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    return f"user {os.getuid()}"
