"""The transfer syntaxes that are accepted are those that can be decoded."""

from __future__ import annotations

from importlib.metadata import distributions

import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRLittleEndian,
)

from sbnode.scp.presentation import decodable_transfer_syntaxes, presentation_contexts

EXPECTED = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless, first-order prediction",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}


def test_the_list_with_the_chosen_plugins() -> None:
    assert set(decodable_transfer_syntaxes()) == set(EXPECTED)


@pytest.mark.parametrize("uid", EXPECTED, ids=EXPECTED.values())
def test_each_has_a_decoder(uid: str) -> None:
    assert get_decoder(uid).is_available


def test_uncompressed_first_and_lossy_last() -> None:
    syntaxes = decodable_transfer_syntaxes()
    assert syntaxes[0] == ExplicitVRLittleEndian
    assert {str(uid).rpartition("4.")[2] for uid in syntaxes[-5:]} == {"50", "51", "81", "91", "203"}


def test_video_is_not_accepted() -> None:
    assert MPEG2MPML not in decodable_transfer_syntaxes()


def test_the_gpl_plugin_is_not_installed() -> None:
    assert "pylibjpeg-libjpeg" not in {distribution.name for distribution in distributions()}


def test_verification_and_three_storage_classes() -> None:
    assert len(presentation_contexts()) == 4
