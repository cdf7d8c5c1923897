"""Which instances the spool holds whole, in whatever study, for those who ask for a commitment to them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sbnode.errors import SpoolError
from sbnode.series import is_uid
from sbnode.spool.record import Record

__all__ = ["Held", "Holdings"]

_SUFFIX = ".dcm"


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of some instances.

    Args:
        sop_classes: the SOP Instance UIDs of those that are stored whole, each with its SOP Class UIDs.
        unknown: the SOP Instance UIDs of those of which the device didn't tell.
    """

    sop_classes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Holdings:
    """The files that some instances have, looked for once; what is in them is read when it is asked for."""

    _paths: Mapping[str, tuple[Path, ...]]
    _complete: bool
    """Whether every folder could be listed."""

    @classmethod
    def of(cls, incoming: Path, sop_instance_uids: Collection[str]) -> Holdings:
        """Look for the files of some instances below a spool's ``incoming``."""
        found: dict[str, tuple[Path, ...]] = {}
        faults: list[OSError] = []
        for folder, folders, files in os.walk(incoming, onerror=faults.append, followlinks=True):
            for uid, suffix in map(os.path.splitext, (*folders, *files)):
                if suffix == _SUFFIX and uid in sop_instance_uids:
                    found[uid] = (*found.get(uid, ()), Path(folder, uid + suffix))
            folders[:] = filter(is_uid, folders)
        # A study may be deleted meanwhile.
        return cls(found, all(isinstance(fault, FileNotFoundError) for fault in faults))

    def held(self, sop_instance_uids: Collection[str]) -> Held:
        """Read which of these are stored whole. A file that the device fails to give tells nothing of its instance."""
        classes: dict[str, frozenset[str]] = {}
        unknown = set() if self._complete else set(sop_instance_uids)
        for uid in sop_instance_uids:
            for path in self._paths.get(uid, ()):
                try:
                    with suppress(SpoolError):  # damaged, or deleted meanwhile
                        classes[uid] = classes.get(uid, frozenset()) | {Record.read(path).instance.sop_class_uid}
                except OSError:
                    unknown.add(uid)
        return Held(classes, frozenset(unknown))
