"""Messages from the fragments of P-DATA-TF (PS3.8 annex E), and the answer to C-STORE (PS3.7 section 9.3.1).

Nearly all that comes over an association is the data sets of C-STORE requests. pynetdicom copies their bytes again
and again, and makes each answer by way of two Datasets (`python -m benchmarks.receive`). Here a fragment is copied once
into its message, the checksum is computed as it comes, and the answer is written as it is. All else is pynetdicom's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple, cast

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from sbnode.series import PARSER_FAULTS

__all__ = ["MOST_MESSAGES", "P_DATA_TF", "DataSet", "DataTransfer", "Messages"]

P_DATA_TF = 0x04
"""The PDU type (PS3.8 section 9.3.5)."""
_PDU_HEAD_BYTES = 6
_ITEM_HEAD = struct.Struct(">LBB")
_COMMAND, _LAST = 0x01, 0x02
"""Bits of a Message Control Header (PS3.8 E.2)."""
MOST_MESSAGES = 16
"""No asynchronous operations are negotiated (PS3.7 D.3.3.3), so a peer waits for the answer to each: more than this, in
one PDU or unanswered, is a flood."""
_C_STORE_RSP, _NO_DATA_SET = 0x8001, 0x0101


class DataSet(BytesIO):
    """A data set as it comes, fragment by fragment, and its SHA-256."""

    def __init__(self) -> None:
        super().__init__()
        self._digest = sha256()

    def append(self, fragment: memoryview) -> None:
        """Add what came."""
        self._digest.update(fragment)
        self.write(fragment)

    @property
    def sha256(self) -> str:
        """Of all that was appended, hexadecimal."""
        return self._digest.hexdigest()


class Fragment(NamedTuple):
    """A presentation data value (PS3.8 section 9.3.5.1)."""

    context_id: int
    control: int
    """Its Message Control Header."""
    content: memoryview


@dataclass(frozen=True, slots=True)
class DataTransfer:
    """A P-DATA-TF PDU, and the primitive that pynetdicom's state machine makes of it."""

    fragments: tuple[Fragment, ...]

    @classmethod
    def of(cls, pdu: bytearray) -> DataTransfer:
        """Find the fragments of a whole PDU. They are views of it.

        Raises:
            ValueError: an item is longer than the PDU, or has no Message Control Header.
        """
        view, offset, found = memoryview(pdu), _PDU_HEAD_BYTES, []
        while offset < len(view):
            try:
                length, context_id, control = _ITEM_HEAD.unpack_from(view, offset)
            except struct.error as error:
                raise ValueError("a P-DATA-TF PDU ends within the head of an item") from error
            begin, offset = offset + _ITEM_HEAD.size, offset + 4 + length
            if not begin <= offset <= len(view):
                raise ValueError("an item of a P-DATA-TF PDU has another length than it says")
            found.append(Fragment(context_id, control, view[begin:offset]))
        return cls(tuple(found))

    @property
    def data_bytes(self) -> int:
        """How many bytes of data sets it brings."""
        return sum(len(one.content) for one in self.fragments if not one.control & _COMMAND)

    def to_primitive(self) -> DataTransfer:
        """Return itself."""
        return self


class Messages(DIMSEServiceProvider):
    """Makes messages of fragments and hands them to the thread that answers them.

    What can't be a message ends the association (Evt19 of PS3.8 section 9.2), and nothing that follows is taken.
    """

    _ended = False

    @property
    def maximum_pdu_size(self) -> int:
        """The peer's maximum length of a PDU; 0, no limit, also where none could be as short."""
        found = super().maximum_pdu_size
        return found if found > _ITEM_HEAD.size else 0

    def receive_primitive(self, primitive: Any) -> None:
        """Take what a PDU brings; a message that is whole goes into the queue."""
        whole = 0
        for fragment in primitive.fragments:
            if not self._ended and self._fits(fragment) and whole < MOST_MESSAGES:
                self._take(fragment)
                whole += self.message is None
            else:
                self._end()

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; the answer to a C-STORE request without asking pydicom to encode it."""
        encoded = _answer(primitive) if isinstance(primitive, C_STORE) else None
        if encoded is None or 0 < self.maximum_pdu_size < len(encoded) + _ITEM_HEAD.size:
            super().send_msg(primitive, context_id)
            return
        self.dul.send_pdu(_primitive(context_id, _COMMAND | _LAST, encoded))

    def _fits(self, fragment: Fragment) -> bool:
        """Whether a fragment can follow what came: first a command, then its data set in the same context (E.1)."""
        complete_in = self.message.context_id if self.message is not None else None
        return complete_in is None if fragment.control & _COMMAND else complete_in == fragment.context_id

    def _take(self, fragment: Fragment) -> None:
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = DataSet()
        if fragment.control & _COMMAND:
            self._pass_on(_primitive(fragment.context_id, fragment.control, fragment.content))
            return
        cast(DataSet, self.message.data_set).append(fragment.content)
        if fragment.control & _LAST:
            self._pass_on(_primitive(fragment.context_id, _LAST))
            self._ended = self._ended or self.message is not None  # no message could be made of it, as pynetdicom says

    def _pass_on(self, primitive: P_DATA) -> None:
        self.cancel_req.clear()  # nothing here can be cancelled, and pynetdicom falls over the eleventh
        try:
            super().receive_primitive(primitive)
        except PARSER_FAULTS:  # its thread would end, without a word to the peer
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self.dul.event_queue.put("Evt19")


def _primitive(context_id: int, control: int, content: bytes | memoryview = b"") -> P_DATA:
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((context_id, bytes((control,)) + content))
    return primitive


def _answer(answer: C_STORE) -> bytes | None:
    """Encode a C-STORE response in Implicit VR Little Endian (PS3.7 table 9.3-2 and section 6.3.1).

    None where it is none, or says more than its status.
    """
    uids = (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID)
    says_more = answer.OffendingElement is not None or answer.ErrorComment is not None
    if answer.MessageIDBeingRespondedTo is None or answer.Status is None or None in uids or says_more:
        return None
    elements = b"".join(
        (
            _element(0x0002, _uid(uids[0])),
            _element(0x0100, struct.pack("<H", _C_STORE_RSP)),
            _element(0x0120, struct.pack("<H", answer.MessageIDBeingRespondedTo)),
            _element(0x0800, struct.pack("<H", _NO_DATA_SET)),
            _element(0x0900, struct.pack("<H", answer.Status)),
            _element(0x1000, _uid(uids[1])),
        )
    )
    return _element(0x0000, struct.pack("<L", len(elements))) + elements


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, number, len(value)) + value


def _uid(value: Any) -> bytes:
    encoded = str(value).encode("ascii", "replace")
    return encoded + b"\0" * (len(encoded) % 2)
