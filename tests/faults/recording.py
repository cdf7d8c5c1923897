"""Associations as good senders make them, PDU by PDU, from one small synthetic slice: what the fuzzer mutates."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom import build_context
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RQ, A_RELEASE_RQ
from pynetdicom.pdu_primitives import (
    A_ABORT,
    A_ASSOCIATE,
    A_RELEASE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from tests.scp.instances import ct_slice, encoded

CALLING, CALLED = "TEST", "SBNODE"
VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"
CONTEXTS = {
    1: (CTImageStorage, ExplicitVRLittleEndian),
    3: (CTImageStorage, ImplicitVRLittleEndian),
    5: (CTImageStorage, DeflatedExplicitVRLittleEndian),
    7: (CTImageStorage, ExplicitVRBigEndian),
    9: (CTImageStorage, JPEG2000Lossless),
    11: (VERIFICATION, ImplicitVRLittleEndian),
    13: (COMMITMENT, ImplicitVRLittleEndian),
}
"""Abstract and transfer syntax by Presentation Context ID."""
IMAGE_CONTEXTS = (1, 3, 5, 7, 9)
COMMAND_FIELDS = (
    0x0001,
    0x0010,
    0x0020,
    0x0021,
    0x0030,
    0x0100,
    0x0110,
    0x0120,
    0x0130,
    0x0140,
    0x0150,
    0x0FFF,
    0x8001,
)

Element = tuple[int, bytes]
"""Tag and value of an element of a command set, which is Implicit VR Little Endian (PS3.7 section 6.3.1)."""


@dataclass(frozen=True)
class Message:
    """A DIMSE request: its command set and data set, in one context."""

    context_id: int
    command: tuple[Element, ...]
    data_set: bytes | None = None

    def pdus(self, fragment_bytes: int = 4096) -> list[bytes]:
        """P-DATA-TF PDUs of one fragment each (PS3.8 section 9.3.5)."""
        found = [self._pdu(self.encoded_command, 3)]
        if self.data_set is not None:
            cut = [
                self.data_set[begin : begin + fragment_bytes]
                for begin in range(0, max(1, len(self.data_set)), fragment_bytes)
            ]
            found += [self._pdu(part, 0) for part in cut[:-1]] + [self._pdu(cut[-1], 2)]
        return found

    @property
    def encoded_command(self) -> bytes:
        return b"".join(element(tag, value) for tag, value in self.command)

    def _pdu(self, fragment: bytes, control: int) -> bytes:
        item = struct.pack(">LBB", len(fragment) + 2, self.context_id, control) + fragment
        return struct.pack(">BBL", 4, 0, len(item)) + item


def element(tag: int, value: bytes) -> bytes:
    """An element in Implicit VR Little Endian."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def command(**values: int | str) -> tuple[Element, ...]:
    """A command set with its group length (PS3.7 annex E)."""
    tags = {
        "affected_class": 0x00000002,
        "requested_class": 0x00000003,
        "field": 0x00000100,
        "message": 0x00000110,
        "priority": 0x00000700,
        "data_set": 0x00000800,
        "affected_instance": 0x00001000,
        "requested_instance": 0x00001001,
        "event": 0x00001002,
        "action": 0x00001008,
    }
    elements = sorted((tags[name], _value(value)) for name, value in values.items())
    length = sum(8 + len(value) for _, value in elements)
    return ((0x00000000, struct.pack("<L", length)), *elements)


def _value(value: int | str) -> bytes:
    if isinstance(value, int):
        return struct.pack("<H", value)
    content = value.encode()
    return content + b"\0" * (len(content) % 2)


def echo() -> Message:
    return Message(11, command(affected_class=VERIFICATION, field=0x0030, message=1, data_set=0x0101))


def store(context_id: int = 1, dataset: Dataset | None = None) -> Message:
    """A C-STORE request."""
    dataset = dataset or ct_slice(size=8)
    return store_of(context_id, dataset.SOPInstanceUID, image(dataset, context_id))


def store_of(context_id: int, uid: str, data_set: bytes) -> Message:
    """A C-STORE request of any bytes under any UID."""
    rq = command(
        affected_class=CTImageStorage, field=0x0001, message=1, priority=0, data_set=0x0001, affected_instance=uid
    )
    return Message(context_id, rq, data_set)


@dataclass(frozen=True)
class Names:
    """What tells one good slice from another. Each has a fixed length, so that they can be put into a template."""

    instance: str = "1.2.3.1.100000000000000"
    series: str = "1.2.4.0"
    study: str = "1.2.5.10"
    patient: str = "CANARY-0"


def named_image(context_id: int, names: Names, size: int) -> bytes:
    """The same as `image` of a slice with these names, and a hundred times faster."""
    content = _template(context_id, size)
    for old, new in zip(astuple(Names()), astuple(names), strict=True):
        content = content.replace(old.encode(), new.encode())
    return content


@lru_cache
def _template(context_id: int, size: int) -> bytes:
    names = Names()
    dataset = ct_slice(study=names.study, series=names.series, sop_instance_uid=names.instance, size=size)
    dataset.PatientID = names.patient
    return image(dataset, context_id)


def image(dataset: Dataset, context_id: int) -> bytes:
    """The data set as it goes over the context."""
    syntax = CONTEXTS[context_id][1]
    if syntax == JPEG2000Lossless and "PixelData" in dataset:
        pixels = dataset["PixelData"]
        pixels.VR, pixels.is_undefined_length = "OB", True
        pixels._value = encapsulate([b"\x01\x02" * 30, b"\x03" * 20])
        syntax = ExplicitVRLittleEndian
    return encoded(dataset, syntax)


def commitment() -> Message:
    item = Dataset()
    item.ReferencedSOPClassUID = CTImageStorage
    item.ReferencedSOPInstanceUID = "1.2.3.4"
    content = Dataset()
    content.TransactionUID = "1.2.3.9"
    content.ReferencedSOPSequence = [item]
    rq = command(
        requested_class=COMMITMENT,
        field=0x0130,
        message=1,
        data_set=0x0001,
        requested_instance="1.2.840.10008.1.20.1.1",
        action=1,
    )
    return Message(13, rq, encoded(content, ImplicitVRLittleEndian))


def report() -> Message:
    content = Dataset()
    content.TransactionUID = "1.2.3.9"
    rq = command(
        affected_class=COMMITMENT,
        field=0x0100,
        message=1,
        data_set=0x0001,
        affected_instance="1.2.840.10008.1.20.1.1",
        event=1,
    )
    return Message(13, rq, encoded(content, ImplicitVRLittleEndian))


def association_request() -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = CALLING, CALLED
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16382
    implementation.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, implementation]
    contexts = []
    for number, (abstract, transfer) in CONTEXTS.items():
        context = build_context(abstract, transfer)
        context.context_id = number
        contexts.append(context)
    primitive.presentation_context_definition_list = contexts
    encoded_pdu: bytes = A_ASSOCIATE_RQ(primitive).encode()
    return encoded_pdu


def _release() -> bytes:
    pdu = A_RELEASE_RQ()
    pdu.from_primitive(A_RELEASE())
    content: bytes = pdu.encode()
    return content


def _abort() -> bytes:
    primitive = A_ABORT()
    primitive.abort_source = 0
    pdu = A_ABORT_RQ()
    pdu.from_primitive(primitive)
    content: bytes = pdu.encode()
    return content


REQUEST, RELEASE, ABORT = association_request(), _release(), _abort()


def session(messages: Sequence[Message], end: bytes = RELEASE) -> list[bytes]:
    """The PDUs that a requestor sends in one association."""
    return [REQUEST, *(pdu for message in messages for pdu in message.pdus()), end]


def bomb(inflated_bytes: int) -> bytes:
    """A small deflated stream that inflates to as many zeros."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    chunk = bytes(1_000_000)
    parts = [deflater.compress(chunk) for _ in range(inflated_bytes // len(chunk))]
    return b"".join(parts) + deflater.flush()
