"""Messages of fragments, and answers, beside what pynetdicom makes of them."""

from __future__ import annotations

import struct
from hashlib import sha256
from io import BytesIO
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, N_ACTION_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_ACTION
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel

from sbnode.scp.messages import DataSet, DataTransfer, Messages

DATA_SET = bytes(range(256)) * 40


def item(context_id: int, control: int, content: bytes) -> bytes:
    return struct.pack(">LBB", len(content) + 2, context_id, control) + content


def pdu(*items: bytes) -> bytearray:
    body = b"".join(items)
    return bytearray(struct.pack(">BBL", 4, 0, len(body)) + body)


def store_request(data_set: bytes = DATA_SET) -> list[P_DATA]:
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, "1.2.3"
    request.DataSet = BytesIO(data_set)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return list(message.encode_msg(5, 1024))


class Peer:
    """An association that keeps what it is given to send."""

    def __init__(self, maximum_length: int = 16384) -> None:
        self.is_requestor = False
        self.requestor = SimpleNamespace(maximum_length=maximum_length)
        self.sent: list[Any] = []
        self.dul = SimpleNamespace(send_pdu=self.sent.append, event_queue=Queue())
        self.dimse_timeout = None

    def get_handlers(self, _: Any) -> list[Any]:
        return []

    @property
    def ended(self) -> bool:
        """Whether the state machine was told of an invalid PDU."""
        return list(self.dul.event_queue.queue) == ["Evt19"]

    @property
    def bytes_sent(self) -> list[tuple[int, bytes]]:
        return [value for primitive in self.sent for value in primitive.presentation_data_value_list]


def messages(peer: Peer | None = None) -> Messages:
    return Messages(peer or Peer())  # type: ignore[arg-type]


def items_of(primitives: list[P_DATA]) -> list[bytes]:
    values = [value for primitive in primitives for value in primitive.presentation_data_value_list]
    return [item(context_id, content[0], content[1:]) for context_id, content in values]


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_a_request_comes_whole_however_its_fragments_lie_in_pdus(at_once: int) -> None:
    items, found = items_of(store_request()), messages()
    for begin in range(0, len(items), at_once):
        assert found.msg_queue.empty()
        found.receive_primitive(DataTransfer.of(pdu(*items[begin : begin + at_once])))
    context_id, request = found.get_msg()
    assert context_id == 5
    assert isinstance(request, C_STORE)
    assert isinstance(request.DataSet, DataSet)
    assert request.DataSet.getvalue() == DATA_SET
    assert request.DataSet.sha256 == sha256(DATA_SET).hexdigest()
    assert (request.MessageID, request.AffectedSOPInstanceUID) == (7, "1.2.3")


def test_two_requests_after_each_other_are_two() -> None:
    found = messages()
    for content in (b"one1", b"two2"):
        found.receive_primitive(DataTransfer.of(pdu(*items_of(store_request(content)))))
    contents = [found.get_msg()[1] for _ in range(2)]
    assert [one.DataSet.getvalue() for one in contents if isinstance(one, C_STORE)] == [b"one1", b"two2"]
    assert found.message is None


def test_another_request_comes_too() -> None:
    request = N_ACTION()
    request.MessageID, request.ActionTypeID = 1, 1
    request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
    request.ActionInformation = BytesIO(b"1234")
    message = N_ACTION_RQ()
    message.primitive_to_message(request)
    found = messages()
    found.receive_primitive(DataTransfer.of(pdu(*items_of(list(message.encode_msg(1, 64))))))
    _, came = found.get_msg()
    assert isinstance(came, N_ACTION)
    assert came.ActionInformation is not None
    assert came.ActionInformation.getvalue() == b"1234"


@pytest.mark.parametrize(
    "broken",
    [
        pdu(struct.pack(">LB", 1, 1)),  # no Message Control Header
        pdu(struct.pack(">LBB", 1, 1, 0)),  # ends before it
        pdu(struct.pack(">LBB", 0, 1, 0)),
        pdu(struct.pack(">LBB", 100, 1, 0) + b"short"),
        pdu(struct.pack(">LBB", 0xFFFFFFFF, 1, 0)),
        pdu(item(1, 2, b"1234"), b"\0\0"),
    ],
)
def test_a_length_that_lies_is_refused(broken: bytearray) -> None:
    with pytest.raises(ValueError, match="P-DATA-TF"):
        DataTransfer.of(broken)


COMMAND, FIRST, *_, LAST = items_of(store_request())


def command(**changed: Any) -> bytes:
    """The command of a C-STORE request, with other values."""
    message = DIMSEMessage()
    for primitive in store_request():
        message.decode_msg(primitive)
    for keyword, value in changed.items():
        setattr(message.command_set, keyword, value)
    encoded = encode(message.command_set, True, True)
    assert encoded is not None
    return item(5, 3, encoded)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "items",
    [
        pytest.param([FIRST, COMMAND, FIRST, LAST], id="a data set before its command"),
        pytest.param([COMMAND, COMMAND, FIRST, LAST], id="two commands"),
        pytest.param([COMMAND, FIRST, COMMAND, FIRST, LAST], id="a command within a data set"),
        pytest.param([COMMAND, b"".join((FIRST[:4], b"\7", FIRST[5:])), LAST], id="another context"),
        pytest.param([item(5, 3, b"\0" * 7), FIRST, LAST], id="a command that can't be decoded"),
        pytest.param([command(CommandField=0x7777), FIRST, LAST], id="an unknown command"),
        pytest.param(
            [command(AffectedSOPInstanceUID="1" * 70), FIRST, LAST, COMMAND, FIRST, LAST], id="a UID that is too long"
        ),
    ],
)
@pytest.mark.parametrize("at_once", [1, 1000])
def test_what_can_be_no_message_ends_the_association(items: list[bytes], at_once: int) -> None:
    """What followed in the same PDU was read into the message that had failed."""
    peer = Peer()
    found = messages(peer)
    for begin in range(0, len(items), at_once):
        found.receive_primitive(DataTransfer.of(pdu(*items[begin : begin + at_once])))
    assert peer.ended
    assert found.msg_queue.empty()


def simple_command(field: int) -> bytes:
    elements = ((0x0100, field), (0x0120, 1), (0x0800, 0x0101))
    encoded = b"".join(struct.pack("<HHLH", 0, number, 2, value) for number, value in elements)
    return item(1, 3, struct.pack("<HHLL", 0, 0, 4, len(encoded)) + encoded)


C_ECHO_RQ, C_CANCEL_RQ = 0x0030, 0x0FFF


def test_a_peer_that_cancels_and_cancels_is_let_be() -> None:
    """pynetdicom queued the eleventh, and the thread that took it died."""
    peer = Peer()
    found = messages(peer)
    for _ in range(30):
        found.receive_primitive(DataTransfer.of(pdu(simple_command(C_CANCEL_RQ))))
    assert found.msg_queue.empty()
    assert not peer.ended


def test_a_peer_does_not_send_many_requests_in_one_pdu() -> None:
    peer = Peer()
    found = messages(peer)
    found.receive_primitive(DataTransfer.of(pdu(*(simple_command(C_ECHO_RQ) for _ in range(5000)))))
    assert peer.ended
    assert found.msg_queue.qsize() < 50


def test_only_data_sets_count() -> None:
    assert DataTransfer.of(pdu(item(1, 3, b"command"), item(1, 0, b"data"), item(1, 2, b"more"))).data_bytes == 8
    assert DataTransfer.of(pdu()).data_bytes == 0


def test_fragments_are_those_that_pynetdicom_finds() -> None:
    whole = pdu(item(1, 3, b"command"), item(3, 0, b"data"), item(255, 2, b""))
    theirs = P_DATA_TF()
    theirs.decode(bytes(whole))
    found = [(one.context_id, bytes((one.control,)) + one.content) for one in DataTransfer.of(whole).fragments]
    assert found == [(one.context_id, one.data) for one in theirs.presentation_data_value_items]


def answer(status: int, uid: str = "1.2.3") -> C_STORE:
    made = C_STORE()
    made.MessageID = made.MessageIDBeingRespondedTo = 65535
    made.AffectedSOPClassUID, made.AffectedSOPInstanceUID = CTImageStorage, uid
    made.Status = status  # type: ignore[assignment]
    return made


def sent_by(
    provider: type[DIMSEServiceProvider], primitive: Any, maximum_length: int = 16384
) -> list[tuple[int, bytes]]:
    peer = Peer(maximum_length)
    provider(peer).send_msg(primitive, 3)  # type: ignore[arg-type]
    return peer.bytes_sent


@pytest.mark.parametrize("maximum_length", [0, 16384, 64])
@pytest.mark.parametrize("status", [0x0000, 0xA700, 0xC0FF])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_an_answer_is_byte_by_byte_that_of_pynetdicom(status: int, uid: str, maximum_length: int) -> None:
    ours = sent_by(Messages, answer(status, uid), maximum_length)
    assert ours == sent_by(DIMSEServiceProvider, answer(status, uid), maximum_length)


@pytest.mark.parametrize("maximum_length", [1, 4, 6])
def test_a_length_that_no_fragment_can_have_is_none(maximum_length: int) -> None:
    """pynetdicom raised, after the instance was stored; a sender would have sent it for ever."""
    assert sent_by(Messages, answer(0), maximum_length) == sent_by(DIMSEServiceProvider, answer(0), 0)


def test_an_answer_that_says_more_is_left_to_pynetdicom() -> None:
    more = answer(0xA900)
    more.ErrorComment = "another class"
    assert sent_by(Messages, more) == sent_by(DIMSEServiceProvider, more)
    assert b"another class" in sent_by(Messages, more)[0][1]


def test_another_answer_is_left_to_pynetdicom() -> None:
    echo = C_ECHO()
    echo.MessageIDBeingRespondedTo, echo.AffectedSOPClassUID, echo.Status = 1, "1.2.840.10008.1.1", 0
    ((context_id, content),) = sent_by(Messages, echo)
    decoded = DIMSEMessage()
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((context_id, content))
    assert decoded.decode_msg(primitive)
    assert decoded.command_set.CommandField == 0x8030
