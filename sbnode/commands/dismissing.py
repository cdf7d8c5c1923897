"""`sbnode jobs dismiss`: putting away what failed and is left so on purpose."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sbnode.config import Config, load_config
from sbnode.errors import SbnodeError, SpoolError
from sbnode.jobs.dismissal import REASONS, Reason
from sbnode.terminal import ConfigOption, OfDestination, QueueId, exit_codes, out, queue

if TYPE_CHECKING:
    from sbnode.audit import Audit

__all__ = ["dismiss"]

_WHY = "; ".join(f"{reason}: {said}" for reason, said in REASONS.items())


def dismiss(
    reason: Annotated[Reason, typer.Option("--reason", help=f"Why it is left. {_WHY}.")],
    id: QueueId = "",
    config: ConfigOption = None,
    destination: OfDestination = "",
) -> None:
    """Put away dead letters and rejected studies that are left on purpose: one delivery, or all of a study or job.

    They no longer count in metrics and alerts, and are deleted with their study as what is done.
    [bold]sbnode jobs list --dismissed[/bold] lists them. [bold]sbnode jobs retry[/bold] takes it back. The audit trail
    keeps who did it.

    Example: [cyan]sbnode jobs dismiss 0f3c --reason not_needed --config config.yaml[/cyan]
    """
    if bool(id) == bool(destination):
        raise typer.BadParameter("give an ID or --destination")
    with exit_codes(), queue(config) as client, _audit(load_config(config)) as audit:
        found = client.find(id) if id else [one for one in client.dead_letters() if one.destination == destination]
        dismissed = client.dismiss(found, reason)
        if not dismissed:
            what = f"nothing whose id begins with {id} is or has a dead letter or was rejected"
            raise SbnodeError(what if id else f"there is no dead letter of {destination}")
        _record(audit, load_config(config).spool.path, [one.id for one in dismissed], reason)
        for one in dismissed:
            out.print(f"dismissed: {one.id}", highlight=False, soft_wrap=True)


@contextmanager
def _audit(settings: Config) -> Iterator[Audit]:
    """Open the audit trail: what can't be recorded isn't begun."""
    from sbnode.audit import Audit

    audit = Audit.open(settings.audit, settings.node.ae_title)
    try:
        yield audit
    finally:
        audit.close()


def _record(audit: Audit, spool_path: Path, names: list[str], reason: Reason) -> None:
    """Note in log and audit trail who did it, in the trail once for each study or job."""
    from sbnode import log
    from sbnode.audit import Participant
    from sbnode.jobs.manifest import Manifest
    from sbnode.spool import Spool

    person = Participant(_person(), socket.gethostname())
    for name in names:
        log.get_logger().info("dismissed", item=name, reason=reason.value, address=person.address)
    spool = Spool(spool_path, 0)
    for name in dict.fromkeys(name.split(".")[0] for name in names):
        study = None
        with suppress(SpoolError):
            study = Manifest.read(spool, name).study_instance_uid
        audit.dismissed(person, study, reason.value)


def _person() -> str:
    """The account of who runs this; with sudo, the one that it was called from."""
    with suppress(KeyError):
        return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    return f"user {os.getuid()}"
