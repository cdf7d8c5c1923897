"""The header of a data set as it came over the network, and whether its Pixel Data is all there."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from sbnode.errors import NotUnderstood
from sbnode.filing import elements_digest, tag_of
from sbnode.series import PARSER_FAULTS

__all__ = ["image_digest", "read_header"]

_PIXEL_DATA = BaseTag(0x7FE00010)
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM = 0xE000
_SEQUENCE_DELIMITER = 0xE0DD
_MAX_FRAGMENTS = 200_000
"""Fragments of one image: one or a few per frame (PS3.5 A.4), and frames are counted in hundreds."""
_MAX_INFLATED_HEADER_BYTES = 64_000_000
"""How much of a deflated data set is held in memory to find the header."""
_CHUNK_BYTES = 1_000_000
_IMAGE_GROUPS = (0x0018, 0x0020, 0x0028, 0x5200)
"""Acquisition, place, pixels and functional groups of an image (PS3.6 chapter 6)."""
_STUDY_ID = tag_of("StudyID")
"""The one attribute among them that belongs to the study."""


def read_header(data_set: bytes, transfer_syntax_uid: str, max_bytes: int) -> Dataset:
    """Return the elements before Pixel Data; nothing is decoded.

    A data set without Pixel Data, or with less of it than it says, was cut off on its way.

    Args:
        data_set: as received: no preamble, no File Meta Information.
        transfer_syntax_uid: that of the presentation context.
        max_bytes: a deflated data set that is longer than this when inflated isn't read.

    Raises:
        NotUnderstood: the data set can't be parsed, is truncated or inflates to more than ``max_bytes``.
    """
    return _read(data_set, UID(transfer_syntax_uid), max_bytes)[0]


def image_digest(data_set: bytes, transfer_syntax_uid: str, max_bytes: int) -> str:
    """Return the SHA-256, hexadecimal, of what makes an image: its pixels, and how and where it was acquired.

    What else the header says, of patient and study above all, doesn't count.

    Raises:
        NotUnderstood: as `read_header`.
    """
    syntax = UID(transfer_syntax_uid)
    header, begin = _read(data_set, syntax, max_bytes)
    tags = [tag for tag in header.keys() if tag.group in _IMAGE_GROUPS and tag != _STUDY_ID]  # noqa: SIM118
    digest = sha256(elements_digest(header, tags).encode())
    if syntax != DeflatedExplicitVRLittleEndian:
        digest.update(memoryview(data_set)[begin:])
        return digest.hexdigest()
    for chunk in _inflated(data_set, max_bytes):
        digest.update(chunk[begin:])
        begin = max(0, begin - len(chunk))
    return digest.hexdigest()


def _read(data_set: bytes, syntax: UID, max_bytes: int) -> tuple[Dataset, int]:
    """Return the header, and where in the (inflated) data set the value of Pixel Data begins."""
    end = len(data_set)
    content = data_set
    if syntax == DeflatedExplicitVRLittleEndian:
        content, end = _inflate(data_set, max_bytes)
    pixels = _PixelDataFinder(BytesIO(content))
    try:
        header = read_dataset(pixels.stream, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=pixels.is_found)
    except PARSER_FAULTS as error:
        raise NotUnderstood(f"the data set can't be parsed: {type(error).__name__}") from error
    return header, pixels.check(syntax, end)


class _PixelDataFinder:
    """Notes where the value of Pixel Data begins while pydicom reads up to it."""

    def __init__(self, stream: BytesIO) -> None:
        self.stream = stream
        self._begin: int | None = None
        self._length = 0

    def is_found(self, tag: BaseTag, _: str | None, length: int) -> bool:
        if tag != _PIXEL_DATA:
            return False
        self._begin, self._length = self.stream.tell(), length
        return True

    def check(self, syntax: UID, end: int) -> int:
        """Return where the value begins; raise NotUnderstood unless it ends within ``end`` bytes."""
        if self._begin is None:
            raise NotUnderstood("the data set has no Pixel Data: it is no image, or it was cut off")
        if self._length != _UNDEFINED_LENGTH:
            complete = self._begin + self._length <= end
        else:
            complete = syntax.is_encapsulated and self._fragments_end(self._begin)
        if not complete:
            raise NotUnderstood("the data set is truncated: its Pixel Data is longer than what came")
        return self._begin

    def _fragments_end(self, position: int) -> bool:
        """Return whether the fragments lead to a Sequence Delimitation Item (PS3.5 A.4)."""
        for _ in range(_MAX_FRAGMENTS):
            self.stream.seek(position)
            head = self.stream.read(8)
            if len(head) < 8:
                return False
            group, element, length = struct.unpack("<HHL", head)
            if (group, element) == (0xFFFE, _SEQUENCE_DELIMITER):
                return True
            if (group, element) != (0xFFFE, _ITEM):
                return False
            position += 8 + length
        return False


def _inflate(data_set: bytes, max_bytes: int) -> tuple[bytes, int]:
    """Return the first part of an inflated data set, and how long all of it is (PS3.5 A.5).

    The rest is inflated too, chunk by chunk and only to be counted: a small data set may hold terabytes.
    """
    kept = bytearray()
    length = 0
    for chunk in _inflated(data_set, max_bytes):
        length += len(chunk)
        kept += chunk[: max(0, _MAX_INFLATED_HEADER_BYTES - len(kept))]
    return bytes(kept), length


def _inflated(data_set: bytes, max_bytes: int) -> Iterator[bytes]:
    """Yield an inflated data set in chunks; raise NotUnderstood when it is broken or longer than ``max_bytes``."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    length = 0
    rest = data_set
    try:
        while not inflater.eof:
            chunk = inflater.decompress(rest, _CHUNK_BYTES)
            rest = inflater.unconsumed_tail
            length += len(chunk)
            if length > max_bytes:
                raise NotUnderstood(f"the deflated data set holds more than {max_bytes} bytes")
            if not chunk and not rest and not inflater.eof:
                raise NotUnderstood("the deflated data set is truncated")
            yield chunk
    except zlib.error as error:
        raise NotUnderstood("the deflated data set can't be inflated") from error
