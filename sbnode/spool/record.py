"""What the spool writes before a data set: preamble, File Meta Information (PS3.10 section 7.1) and a record.

The record lies in Private Information (0002,0102): the checksum and length of the data set and the header
facts. So it reaches the disk with the instance in one write and one flush, can't disagree with it, and a
series of 400 slices is listed without parsing 400 headers.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from sbnode import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sbnode.errors import SpoolError
from sbnode.series import PARSER_FAULTS, Instance, SeriesKey, read_instance
from sbnode.spool.versions import Version, remembered

__all__ = ["Record"]

_PRIVATE_CREATOR_UID = "2.25.113859004938114732905261093822746165307"
_PREAMBLE = bytes(128) + b"DICM"
_GROUP_LENGTH_ELEMENT_BYTES = 12
_FACTS = frozenset(field.name for field in fields(Instance)) - {"path"}
_LASTING = frozenset({"patient", "filing", "corrections", "superseded"})
"""Facts that aren't read from the header again."""


@dataclass(frozen=True, slots=True)
class Record:
    """One stored instance and what its file must hold."""

    instance: Instance
    sha256: str
    """Of the data set as received, hexadecimal."""
    data_set_bytes: int
    calling_ae_title: str
    """Of who sent it."""
    senders: tuple[str, ...] = ()
    """Of the versions that it took the place of, in the order of ``instance.superseded``."""

    @property
    def versions(self) -> tuple[Version, ...]:
        """How this instance was filed, oldest first, and last how it is."""
        old = self.instance.superseded
        senders = self.senders or ("",) * len(old)  # older records have none
        return (*map(Version, old, senders), Version(self.instance.filing, self.calling_ae_title))

    def in_place_of(self, kept: Record) -> Record:
        """Return this, which was just received, with the versions of ``kept``, of which it is a correction."""
        *old, _ = remembered((*kept.versions, *self.versions))
        superseded = tuple(version.filing for version in old)
        instance = replace(self.instance, corrections=kept.instance.corrections + 1, superseded=superseded)
        return replace(self, instance=instance, senders=tuple(version.sender for version in old))

    @classmethod
    def of(cls, instance: Instance, data_set: bytes, calling_ae_title: str, digest: str = "") -> Record:
        """Describe ``data_set``, whose header facts are ``instance``; ``digest`` is its SHA-256 where it is known."""
        return cls(instance, digest or sha256(data_set).hexdigest(), len(data_set), calling_ae_title)

    def prefix(self) -> bytes:
        """Return all that precedes the data set in its file."""
        instance = self.instance
        # By hand: with pydicom it takes as long as flushing the file.
        elements = b"".join(
            (
                _element(0x0001, b"OB", b"\0\1"),
                _element(0x0002, b"UI", instance.sop_class_uid),
                _element(0x0003, b"UI", instance.sop_instance_uid),
                _element(0x0010, b"UI", instance.transfer_syntax_uid),
                _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
                _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
                _element(0x0016, b"AE", self.calling_ae_title),
                _element(0x0100, b"UI", _PRIVATE_CREATOR_UID),
                _element(0x0102, b"OB", self._encoded()),
            )
        )
        return _PREAMBLE + _element(0x0000, b"UL", struct.pack("<L", len(elements))) + elements

    def _encoded(self) -> bytes:
        facts = {name: getattr(self.instance, name) for name in sorted(_FACTS - {"key"})}
        facts["key"] = [self.instance.key.study_instance_uid, self.instance.key.series_instance_uid]
        content = {"sha256": self.sha256, "bytes": self.data_set_bytes, "facts": facts}
        if self.senders:
            content["senders"] = self.senders
        encoded = json.dumps(content, separators=(",", ":")).encode()
        return encoded + b" " * (len(encoded) % 2)

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read the record of the file at ``path`` and compare the file's length with it.

        Raises:
            SpoolError: the file is missing, truncated, or was not written by the spool.
        """
        try:
            before = path.stat()
            meta = read_file_meta_info(path)
            content = json.loads(meta.PrivateInformation)
            begin = len(_PREAMBLE) + _GROUP_LENGTH_ELEMENT_BYTES + meta.FileMetaInformationGroupLength
            sender = str(meta.get("SourceApplicationEntityTitle", ""))
            senders = tuple(map(str, content.get("senders", ())))
            record = cls(_instance(content["facts"], path), content["sha256"], content["bytes"], sender, senders)
            expected = begin + record.data_set_bytes
            after = path.stat()
        except (InvalidDicomError, *PARSER_FAULTS) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
                raise  # The disk failed, not the file.
            raise SpoolError(f"{path.name} can't be read: {type(error).__name__}. Send it again.") from error
        if (before.st_ino, before.st_size) != (after.st_ino, after.st_size):
            return cls.read(path)  # a correction took its place meanwhile
        if after.st_size != expected:
            raise SpoolError(f"{path.name} has {after.st_size} bytes instead of {expected}. Send it again.")
        return record

    def data_set(self) -> bytes:
        """Return the data set of the file, as it was received."""
        with self.instance.path.open("rb") as file:
            file.seek(-self.data_set_bytes, os.SEEK_END)
            return file.read()

    def verify(self) -> None:
        """Raise SpoolError unless the data set in the file still has its checksum."""
        path = self.instance.path
        digest = sha256()
        with path.open("rb") as file:
            file.seek(-self.data_set_bytes, os.SEEK_END)
            while chunk := file.read(1_000_000):
                digest.update(chunk)
        if digest.hexdigest() != self.sha256:
            raise SpoolError(f"{path.name} doesn't match its checksum. Send it again.")


def _element(number: int, vr: bytes, value: str | bytes) -> bytes:
    """Encode an element of group 0002 in Explicit VR Little Endian (PS3.5 section 7.1.2)."""
    content = value.encode("ascii") if isinstance(value, str) else value
    if len(content) % 2:
        content += b" " if vr in (b"SH", b"AE") else b"\0"
    length = struct.pack("<HL", 0, len(content)) if vr == b"OB" else struct.pack("<H", len(content))
    return struct.pack("<HH", 0x0002, number) + vr + length + content


def _instance(facts: dict[str, Any], path: Path) -> Instance:
    """Build the instance from its kept facts; from its header too when another version of sbnode kept others."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    if facts.keys() != _FACTS:
        # What jobs go by stays what it was, whatever this version would make of the header: work in flight would be
        # taken for corrected.
        return replace(read_instance(path), **{name: values[name] for name in _LASTING & facts.keys()})
    values["key"] = SeriesKey(*values["key"])
    return Instance(path=path, **values)
