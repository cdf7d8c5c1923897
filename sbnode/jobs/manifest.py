"""Which instances a study or a job consists of, written down durably before the queue hears of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sbnode.errors import SpoolError
from sbnode.rules import Decision
from sbnode.series import Series
from sbnode.spool import Spool, durable

__all__ = ["Manifest"]

_FOLDER = "jobs"
_DECISION = frozenset(entry.name for entry in fields(Decision))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The instances of a study at the moment when it was complete, or those of them that a job may take.

    ``received_at`` is when the last of the study was stored (ISO 8601, UTC). It dates the results, so that a
    repeated job makes the same bytes. ``digest`` changes when what names patient or study is corrected: of a job, in
    the series ``chosen``, by which its key goes too. ``decision`` is what the rules said when the job was made,
    whatever they say later.
    """

    study_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    received_at: str
    digest: str
    decision: Decision = field(default_factory=Decision)
    chosen: str = ""

    @classmethod
    def of(cls, study: Sequence[Series]) -> Manifest:
        """Describe ``study``, which holds at least one instance."""
        instances = [instance for series in study for instance in series.instances]
        newest = max(instance.path.stat().st_mtime for instance in instances)
        return cls(
            study_instance_uid=instances[0].key.study_instance_uid,
            sop_instance_uids=tuple(sorted(instance.sop_instance_uid for instance in instances)),
            received_at=datetime.fromtimestamp(newest, UTC).isoformat(timespec="milliseconds"),
            digest=_digest(study),
        )

    def of_job(self, taken: Sequence[Series], chosen: Series, decision: Decision) -> Manifest:
        """Return the manifest of a job that may take these series of the study, and takes ``chosen``."""
        uids = sorted(instance.sop_instance_uid for series in taken for instance in series.instances)
        return replace(
            self,
            sop_instance_uids=tuple(uids),
            digest=_digest([chosen]),
            decision=decision,
            chosen=chosen.key.series_instance_uid,
        )

    @property
    def study_id(self) -> str:
        """Names the study with exactly these instances: another slice or a correction makes another name, no resend."""
        content = "\n".join((self.study_instance_uid, *self.sop_instance_uids, self.digest))
        return f"study-{sha256(content.encode()).hexdigest()[:32]}"

    @property
    def received(self) -> datetime:
        """When the last instance was stored."""
        return datetime.fromisoformat(self.received_at)

    def write(self, spool: Spool, name: str) -> None:
        """Keep this manifest under ``name``. One that is there already stays: it dates the results."""
        path = spool.path / _FOLDER / f"{name}.json"
        if path.exists():
            durable.flush(path.parent)  # who wrote it may not have come to that
        else:
            durable.write(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, spool: Spool, name: str) -> Manifest:
        """Read the manifest kept under ``name``.

        Raises:
            SpoolError: there is none, or it can't be read.
        """
        path = spool.path / _FOLDER / f"{name}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            uids = tuple(content["sop_instance_uids"])
            return cls(
                study_instance_uid=content["study_instance_uid"],
                sop_instance_uids=uids,
                received_at=content["received_at"],
                digest=content["digest"],
                decision=_decision(content.get("decision", {})),
                chosen=content.get("chosen", ""),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SpoolError(f"manifest {path.name} can't be read: {type(error).__name__}") from error

    @classmethod
    def names(cls, spool: Spool) -> dict[str, list[str]]:
        """Return the names under which manifests are kept, by Study Instance UID; unreadable ones are left out."""
        found: dict[str, list[str]] = {}
        for path in sorted((spool.path / _FOLDER).glob("*.json")):
            with suppress(SpoolError):
                found.setdefault(cls.read(spool, path.stem).study_instance_uid, []).append(path.stem)
        return found

    @staticmethod
    def remove(spool: Spool, name: str) -> None:
        """Delete the manifest kept under ``name``."""
        (spool.path / _FOLDER / f"{name}.json").unlink(missing_ok=True)

    def study(self, spool: Spool) -> tuple[Series, ...]:
        """Return the series with exactly the instances named here.

        Raises:
            SpoolError: an instance is no longer in the spool.
        """
        wanted = set(self.sop_instance_uids)
        found = [
            Series.of(series.key, [i for i in series.instances if i.sop_instance_uid in wanted])
            for series in spool.series(self.study_instance_uid)
        ]
        missing = len(wanted) - sum(len(series.instances) for series in found)
        if missing:
            raise SpoolError(f"{missing} of {len(wanted)} instances of the study are no longer in the spool")
        return tuple(series for series in found if series.instances)

    def is_corrected(self, spool: Spool) -> bool:
        """Whether an instance came again with other attributes of patient or study since this was written.

        Raises:
            SpoolError: an instance is no longer in the spool.
        """
        study = self.study(spool)
        return _digest([s for s in study if self.chosen in ("", s.key.series_instance_uid)]) != self.digest


def _digest(study: Sequence[Series]) -> str:
    return sha256("\n".join(series.digest for series in study).encode()).hexdigest()


def _decision(content: dict[str, Any]) -> Decision:
    """Read what is known here: a later release may have written more."""
    known = {name: content[name] for name in _DECISION & content.keys()}
    destinations = known.get("destinations")
    return Decision(**{**known, "destinations": None if destinations is None else tuple(destinations)})
