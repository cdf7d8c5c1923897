"""Malformed data sets: each is refused with NotUnderstood, in bounded memory, whatever its bytes are."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from sbnode.errors import NotUnderstood
from sbnode.series import instance_of
from sbnode.spool import header
from sbnode.spool.header import PARSER_FAULTS, read_header
from tests.scp.instances import ct_slice, encoded

LIMIT = 10_000_000


def encapsulated() -> bytes:
    dataset = ct_slice()
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"]._value = encapsulate([b"\x01\x02" * 100])
    return encoded(dataset)


def test_the_header_ends_before_the_pixels() -> None:
    found = read_header(encoded(ct_slice()), ExplicitVRLittleEndian, LIMIT)
    assert found.Rows == 16
    assert "PixelData" not in found


def test_fragments_are_followed_to_their_end() -> None:
    assert read_header(encapsulated(), JPEG2000Lossless, LIMIT).Rows == 16


@pytest.mark.parametrize("cut", [2, 8, 9, 100, 208, 210, 225])
def test_cut_fragments_are_refused(cut: int) -> None:
    with pytest.raises(NotUnderstood):
        read_header(encapsulated()[:-cut], JPEG2000Lossless, LIMIT)


def test_fragments_in_a_native_syntax_are_refused() -> None:
    with pytest.raises(NotUnderstood):
        read_header(encapsulated(), ExplicitVRLittleEndian, LIMIT)


def test_a_data_set_cut_anywhere_is_refused() -> None:
    data_set = encoded(ct_slice(size=4))
    for end in range(len(data_set)):
        with pytest.raises(NotUnderstood):
            read_header(data_set[:end], ExplicitVRLittleEndian, LIMIT)


def test_a_deflated_data_set_cut_anywhere_is_refused() -> None:
    data_set = encoded(ct_slice(size=4), DeflatedExplicitVRLittleEndian)
    for end in range(len(data_set) - 2):
        with pytest.raises(NotUnderstood):
            read_header(data_set[:end], DeflatedExplicitVRLittleEndian, LIMIT)


def test_a_lying_length_reserves_no_memory() -> None:
    data_set = bytearray(encoded(ct_slice(), ImplicitVRLittleEndian))
    struct.pack_into("<L", data_set, 4, 0xFFFFFFF0)
    tracemalloc.start()
    with pytest.raises(NotUnderstood):
        read_header(bytes(data_set), ImplicitVRLittleEndian, LIMIT)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_decompression_bomb_is_refused_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "_MAX_INFLATED_HEADER_BYTES", 1_000_000)
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(1_000_000)) for _ in range(50)) + deflater.flush()
    tracemalloc.start()
    with pytest.raises(NotUnderstood, match="holds more than"):
        read_header(bomb, DeflatedExplicitVRLittleEndian, 20_000_000)
    assert tracemalloc.get_traced_memory()[1] < 6_000_000
    tracemalloc.stop()


def test_a_large_deflated_image_is_read_with_its_header_alone_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(header, "_MAX_INFLATED_HEADER_BYTES", 10_000)
    data_set = encoded(ct_slice(size=1024), DeflatedExplicitVRLittleEndian)
    assert read_header(data_set, DeflatedExplicitVRLittleEndian, LIMIT).Rows == 1024


def test_sequences_nested_without_end_are_refused() -> None:
    opened = struct.pack("<HH2sHL", 0x0008, 0x1111, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(NotUnderstood):
        read_header((opened + item) * 20_000, ExplicitVRLittleEndian, LIMIT)


def test_pixels_inside_an_icon_are_not_the_image() -> None:
    dataset = ct_slice()
    icon = Dataset()
    icon.add(dataset["PixelData"])
    dataset.IconImageSequence = Sequence([icon])
    del dataset.PixelData
    with pytest.raises(NotUnderstood, match="no Pixel Data"):
        read_header(encoded(dataset), ExplicitVRLittleEndian, LIMIT)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless], ids=lambda uid: uid.name
)
def test_random_damage_raises_nothing_else(syntax: UID) -> None:
    """Any other exception would end here as an error of the test."""
    generator = random.Random(20261122)
    original = encapsulated() if syntax.is_encapsulated else encoded(ct_slice(size=2), syntax)
    refused = 0
    for _ in range(1500):
        data_set = bytearray(original)
        for _ in range(generator.choice((1, 2, 8, 40))):
            data_set[generator.randrange(len(data_set))] = generator.randrange(256)
        try:
            found = read_header(bytes(data_set), syntax, LIMIT)
        except NotUnderstood:
            refused += 1
            continue
        try:
            found.file_meta = Dataset()
            found.file_meta.TransferSyntaxUID = syntax
            instance_of(found, __file__)  # type: ignore[arg-type]
        except PARSER_FAULTS:
            refused += 1
    assert refused > 100
