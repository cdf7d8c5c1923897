"""What hostile and broken senders make of good messages. The same generator of numbers gives the same mutations."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import replace

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.faults import recording
from tests.faults.recording import (
    ABORT,
    COMMAND_FIELDS,
    CONTEXTS,
    IMAGE_CONTEXTS,
    RELEASE,
    REQUEST,
    Message,
    Names,
    session,
)

LENGTHS = (0, 1, 2, 3, 7, 8, 9, 255, 256, 65535, 65536, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
UIDS = (
    b"", b"\0", b"../../../etc/passwd", b"/etc/passwd", b"1.2.3/../4", b"1.2.3\0.4", b"1.2.3\0\0", b"1..2", b".1.2",
    b"1.2.", b"1.2.3 ", b"1.2.3\n", b"1." * 40 + b"1", b"9" * 64, b"9" * 65, b"0", b"1.2.03", b"1.2\\3.4",
    b"\xd9\xa1.2", b"-1.2", b"1.2.3.dcm", b"%2e%2e%2f", b"CON", b"1.2.3;rm", b"1.2.840.10008.5.1.4.1.1.2",
)  # fmt: skip
TEXTS = (
    b"", b"\0" * 10, b"\xff\xfe\xfd", "Ω≈ç√".encode(), b"CANARY^PATIENT" * 500, b"\\" * 300, b"\x1b$B\x1b(J",
    b"=" * 9, b"^" * 70, b"nan", b"inf", b"-inf", b"1e999", b"1e308\\1e308\\1e308", b"0" * 400, b"--1", b"1,5",
    b"99999999999999999999", b"1\\2\\3\\4\\5\\6\\7",
)  # fmt: skip
VRS = (
    b"UI",
    b"SQ",
    b"OB",
    b"OW",
    b"US",
    b"FD",
    b"PN",
    b"DS",
    b"IS",
    b"UN",
    b"AT",
    b"LO",
    b"ZZ",
    b"\0\0",
    b"UV",
    b"OF",
    b"DA",
    b"TM",
)
CHARSETS = (
    b"ISO_IR 192", b"ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"GB18030", b"NONE", b"ISO_IR 100\\ISO_IR 192", b"\xff",
    b"", b"utf-16",
)  # fmt: skip
TAGS = (
    0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x0008103E, 0x00100010, 0x00100020, 0x00100030,
    0x00180050, 0x00181210, 0x0020000D, 0x0020000E, 0x00200010, 0x00200011, 0x00200013, 0x00200032, 0x00200037,
    0x00200052, 0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x52009229, 0x52009230,
    0x7FE00010, 0x00081140, 0x00101002, 0x00020010, 0x00000000, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x00091001,
    0xFFFFFFFF,
)  # fmt: skip
BOMB = recording.bomb(30_000_000)


class Mutator:
    """Makes cases from one generator of numbers."""

    def __init__(self, generator: random.Random) -> None:
        self._draw = generator

    def association(self) -> list[bytes]:
        """What a hostile requestor sends on one connection, PDU by PDU, or what was made of them."""
        draw = self._draw
        level = draw.random()
        if level < 0.5:
            return self._pdus(session(self._messages(), draw.choice((RELEASE, ABORT, b""))))
        messages = [self.command(m) if level < 0.8 else replace(m, data_set=self.data_set(m)) for m in self._messages()]
        return session(messages)

    def _messages(self) -> list[Message]:
        draw = self._draw
        makers = (recording.echo, recording.commitment, recording.report, self._store)
        return [draw.choice(makers)() for _ in range(draw.choice((1, 1, 2, 4)))]

    def _store(self) -> Message:
        """A good C-STORE request, mostly of another UID than any before."""
        draw = self._draw
        context_id, names = draw.choice(IMAGE_CONTEXTS), self._names()
        content = recording.named_image(_plain(context_id), names, draw.choice((1, 4, 8)))
        if CONTEXTS[context_id][1] == DeflatedExplicitVRLittleEndian:
            content = _deflated(content)
        return recording.store_of(context_id, names.instance, content)

    def _names(self) -> Names:
        draw = self._draw
        return Names(
            instance=f"1.2.3.1.1{draw.choice((1, *(draw.getrandbits(46) for _ in range(4)))):014d}",
            series=f"1.2.4.{draw.randrange(3)}",
            study=f"1.2.5.{draw.randrange(10, 30)}",
            patient=draw.choice(("CANARY-0", "CANARY-1")),
        )

    def _pdus(self, pdus: list[bytes]) -> list[bytes]:
        """Mutate PDUs: their order, heads, items and bits."""
        draw = self._draw
        pdus = [pdu for pdu in pdus if pdu]
        for _ in range(draw.choice((1, 1, 2, 3))):
            which = draw.randrange(len(pdus))
            pdu = pdus[which]
            kind = draw.randrange(10)
            if kind == 0:
                pdus.insert(which, pdu)
            elif kind == 1 and len(pdus) > 1:
                del pdus[which]
            elif kind == 2:
                draw.shuffle(pdus)
            elif kind == 3:
                pdus[which] = bytes([draw.randrange(256)]) + pdu[1:]
            elif kind == 4:
                pdus[which] = pdu[:2] + struct.pack(">L", self._length(len(pdu) - 6)) + pdu[6:]
            elif kind == 5:
                pdus[which] = pdu[: draw.randrange(len(pdu) + 1)]
            elif kind == 6:
                other = draw.choice((REQUEST, ABORT, RELEASE, *pdus))
                at = draw.randrange(len(pdu) + 1)
                pdus[which] = pdu[:at] + other[draw.randrange(len(other)) :] + pdu[at:]
            elif kind == 7:
                pdus[which] = self._item_length(pdu)
            elif kind == 8:
                pdus[which] = self._with_true_length(self.flipped(pdu[6:]), pdu)
            else:
                pdus[which] = self.flipped(pdu)
            pdus = [pdu for pdu in pdus if pdu] or [b"\0"]
        return pdus

    def _item_length(self, pdu: bytes) -> bytes:
        """Overwrite a length or an identifier somewhere in the items, or add an item that is empty."""
        draw = self._draw
        if draw.random() < 0.2:
            return self._with_true_length(
                pdu[6:] + struct.pack(">LB", draw.choice((0, 1, 2)), draw.choice((1, 2, 255))), pdu
            )
        content = bytearray(pdu)
        if len(content) > 12:
            at = draw.randrange(6, len(content) - 4)
            struct.pack_into(draw.choice((">H", ">L")), content, at, self._length(0) & 0xFFFF)
        return bytes(content)

    @staticmethod
    def _with_true_length(content: bytes, pdu: bytes) -> bytes:
        return pdu[:2] + struct.pack(">L", len(content)) + content

    def _length(self, near: int) -> int:
        return self._draw.choice((*LENGTHS, near + 1, max(0, near - 1), near + 2, near * 2)) & 0xFFFFFFFF

    def flipped(self, content: bytes) -> bytes:
        """Change a few bytes."""
        changed = bytearray(content)
        for _ in range(self._draw.choice((1, 2, 8, 40)) if changed else 0):
            changed[self._draw.randrange(len(changed))] = self._draw.randrange(256)
        return bytes(changed)

    def command(self, message: Message) -> Message:
        """Mutate a command set."""
        draw = self._draw
        elements = list(message.command)
        for _ in range(draw.choice((1, 1, 2, 3))):
            which = draw.randrange(len(elements)) if elements else 0
            kind = draw.randrange(8)
            if kind == 0 and elements:
                del elements[which]
            elif kind == 1 and elements:
                elements.insert(which, elements[which])
            elif kind == 2 and elements:
                elements[which] = (elements[which][0], draw.choice((*UIDS, *TEXTS, b"\1\1", b"\0" * 4)))
            elif kind == 3:
                elements = [
                    (t, struct.pack("<H", draw.choice(COMMAND_FIELDS)) if t == 0x100 else v) for t, v in elements
                ]
            elif kind == 4:
                elements = [
                    (t, draw.choice((b"\1\1", b"\0\0", b"", b"\1\0\1\0")) if t == 0x800 else v) for t, v in elements
                ]
            elif kind == 5:
                elements.append((draw.choice(TAGS), draw.randbytes(draw.choice((0, 1, 2, 64, 3000)))))
            elif kind == 6:
                message = replace(message, context_id=draw.choice((0, 1, 2, 11, 13, 15, 255)))
            else:
                message = replace(message, data_set=draw.choice((None, b"", b"\0", message.data_set)))
        return replace(message, command=tuple(elements))

    def store(self) -> Message:
        """A C-STORE request with a mutated data set."""
        message = self._store()
        return replace(message, data_set=self.data_set(message))

    def data_set(self, message: Message) -> bytes:
        """Mutate a data set."""
        draw = self._draw
        if CONTEXTS[message.context_id][0] != CONTEXTS[1][0] or draw.random() < 0.15:
            return self._framed(self.flipped(message.data_set or b""))
        syntax = CONTEXTS[message.context_id][1]
        plain = _plain(message.context_id)
        uid = dict(message.command)[0x00001000].rstrip(b"\0").decode()
        content = recording.named_image(plain, replace(self._names(), instance=uid), draw.choice((1, 4, 8)))
        for _ in range(draw.choice((1, 1, 2, 4))):
            content = self._element(content, plain)
        if draw.random() < 0.2:
            content = self._framed(self.flipped(content))
        if syntax != DeflatedExplicitVRLittleEndian:
            return content
        if draw.random() < 0.01:
            return BOMB
        deflated = _deflated(content)
        return self.flipped(deflated) if draw.random() < 0.2 else deflated

    def _framed(self, content: bytes) -> bytes:
        """Cut it off, add to it, or leave its length as it is."""
        kind = self._draw.randrange(4)
        if kind == 0:
            return content[: self._draw.randrange(len(content) + 1)]
        return content + self._draw.randbytes(self._draw.choice((1, 7, 100))) if kind == 1 else content

    def _element(self, content: bytes, context_id: int) -> bytes:
        """Mutate one element in place, or add one."""
        draw = self._draw
        found = elements_of(content, context_id)
        kind = draw.randrange(9)
        if not found or kind == 0:
            return self._added(content, context_id)
        begin, value_at, end, tag = draw.choice(found)
        head = bytearray(content[begin:value_at])
        value = content[value_at:end]
        if kind == 1:
            return content[:begin] + content[end:]
        if kind == 2:
            return content[:end] + content[begin:end] + content[end:]
        if kind == 3 and CONTEXTS[context_id][1] != ImplicitVRLittleEndian:
            head[4:6] = draw.choice(VRS)
            return content[:begin] + bytes(head) + content[value_at:]
        if kind == 4:
            self._write_length(head, self._length(len(value)), context_id)
            return content[:begin] + bytes(head) + content[value_at:]
        if kind == 5:
            other = draw.choice(found)
            return content[:begin] + content[other[0] : other[2]] + content[begin:]
        if tag == 0x00080005:
            value = draw.choice(CHARSETS)
        elif tag & 0xFFFF0000 == 0x00280000:
            value = draw.choice((b"\xff\xff", b"\0\0", b"", b"\xff", b"\xff\xff\xff\xff", *TEXTS))
        else:
            value = draw.choice(UIDS if draw.random() < 0.5 else TEXTS)
        self._write_length(head, len(value), context_id)
        return content[:begin] + bytes(head) + value + content[end:]

    @staticmethod
    def _write_length(head: bytearray, length: int, context_id: int) -> None:
        order = ">" if CONTEXTS[context_id][1] == ExplicitVRBigEndian else "<"
        short = CONTEXTS[context_id][1] != ImplicitVRLittleEndian and len(head) == 8
        size, kind, most = (2, "H", 0xFFFF) if short else (4, "L", 0xFFFFFFFF)
        struct.pack_into(order + kind, head, len(head) - size, length & most)

    def _added(self, content: bytes, context_id: int) -> bytes:
        """Put something before, or in front of Pixel Data: a stray element, or sequences in sequences."""
        draw = self._draw
        syntax = CONTEXTS[context_id][1]
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        tag = draw.choice(TAGS)
        depth = draw.choice((1, 2, 30, 400, 1000, 10_000)) if draw.random() < 0.3 else 0
        if depth:
            opened = struct.pack(order + "HH", *divmod(draw.choice((0x00081140, 0x00101002, 0x52009229)), 65536))
            opened += (
                struct.pack(order + "L", 0xFFFFFFFF) if syntax == ImplicitVRLittleEndian else b"SQ\0\0\xff\xff\xff\xff"
            )
            opened += struct.pack(order + "HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
            closed = struct.pack(order + "HHL", 0xFFFE, 0xE00D, 0) + struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0)
            added = opened * depth + closed * draw.choice((0, depth))
        else:
            value = draw.choice((*UIDS, *TEXTS))
            added = struct.pack(order + "HH", *divmod(tag, 65536))
            if syntax == ImplicitVRLittleEndian:
                added += struct.pack("<L", len(value)) + value
            else:
                added += draw.choice(VRS) + struct.pack(order + "H", len(value) & 0xFFFF) + value
        at = draw.choice((0, max((b for b, _, _, t in elements_of(content, context_id) if t == 0x7FE00010), default=0)))
        return content[:at] + added + content[at:]


def _plain(context_id: int) -> int:
    """The context whose encoding is deflated in ``context_id``, or that itself."""
    return 1 if CONTEXTS[context_id][1] == DeflatedExplicitVRLittleEndian else context_id


def _deflated(content: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


def elements_of(content: bytes, context_id: int) -> list[tuple[int, int, int, int]]:
    """Begin, begin of the value, end and tag of each element, as far as the data set can be followed."""
    syntax = CONTEXTS[context_id][1]
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    found, at = [], 0
    while at + 8 <= len(content):
        group, number = struct.unpack_from(order + "HH", content, at)
        if syntax == ImplicitVRLittleEndian:
            value_at, (length,) = at + 8, struct.unpack_from("<L", content, at + 4)
        elif content[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"UV"):
            if at + 12 > len(content):
                break
            value_at, (length,) = at + 12, struct.unpack_from(order + "L", content, at + 8)
        else:
            value_at, (length,) = at + 8, struct.unpack_from(order + "H", content, at + 6)
        end = min(len(content), value_at + length)
        found.append((at, value_at, end, group << 16 | number))
        at = end
    return found
