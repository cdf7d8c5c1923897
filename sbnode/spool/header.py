"""The header of a data set as it came over the network, and whether its Pixel Data is all there."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from sbnode.errors import NotUnderstood
from sbnode.series import PARSER_FAULTS

__all__ = ["read_header"]

_PIXEL_DATA = BaseTag(0x7FE00010)
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM = 0xE000
_SEQUENCE_DELIMITER = 0xE0DD
_MAX_FRAGMENTS = 200_000
"""Fragments of one image: one or a few per frame (PS3.5 A.4), and frames are counted in hundreds."""
_MAX_INFLATED_HEADER_BYTES = 64_000_000
"""How much of a deflated data set is held in memory to find the header."""
_CHUNK_BYTES = 1_000_000


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
    syntax = UID(transfer_syntax_uid)
    end = len(data_set)
    content = data_set
    if syntax == DeflatedExplicitVRLittleEndian:
        content, end = _inflate(data_set, max_bytes)
    pixels = _PixelDataFinder(BytesIO(content))
    try:
        header = read_dataset(pixels.stream, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=pixels.is_found)
    except PARSER_FAULTS as error:
        raise NotUnderstood(f"the data set can't be parsed: {type(error).__name__}") from error
    pixels.check(syntax, end)
    return header


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

    def check(self, syntax: UID, end: int) -> None:
        """Raise NotUnderstood unless the value lies within the ``end`` bytes of the data set."""
        if self._begin is None:
            raise NotUnderstood("the data set has no Pixel Data: it is no image, or it was cut off")
        if self._length != _UNDEFINED_LENGTH:
            complete = self._begin + self._length <= end
        else:
            complete = syntax.is_encapsulated and self._fragments_end(self._begin)
        if not complete:
            raise NotUnderstood("the data set is truncated: its Pixel Data is longer than what came")

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
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    kept = bytearray()
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
            kept += chunk[: max(0, _MAX_INFLATED_HEADER_BYTES - len(kept))]
    except zlib.error as error:
        raise NotUnderstood("the deflated data set can't be inflated") from error
    return bytes(kept), length
