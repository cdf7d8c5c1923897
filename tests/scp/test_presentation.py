"""The transfer syntaxes that are accepted are those that can be decoded."""

from __future__ import annotations

import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pydicom
import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from sbnode.scp.presentation import decodable_transfer_syntaxes, presentation_contexts
from tests.integration.peers import program

EXPECTED = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
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
    assert {str(uid).rpartition("4.")[2] for uid in syntaxes[-4:]} == {"50", "81", "91", "203"}


def test_12_bit_jpeg_is_still_not_decodable(shared_data: Path, tmp_path: Path) -> None:
    """When this fails, a plugin has learned it: accept JPEG Extended."""
    encoded = tmp_path / "encoded.dcm"
    source = shared_data / "ge-hispeed-tilted" / "14.dcm"
    subprocess.run([program("dcmcjpeg", "dcmtk"), "+ee", source, encoded], check=True, timeout=60)
    assert JPEGExtended12Bit not in decodable_transfer_syntaxes()
    with pytest.raises(RuntimeError, match="12-bit"):
        _ = pydicom.dcmread(encoded).pixel_array


def test_video_is_not_accepted() -> None:
    assert MPEG2MPML not in decodable_transfer_syntaxes()


def test_the_gpl_plugin_is_not_installed() -> None:
    assert "pylibjpeg-libjpeg" not in {distribution.name for distribution in distributions()}


def test_verification_commitment_in_both_roles_and_three_storage_classes() -> None:
    contexts = {str(context.abstract_syntax): context for context in presentation_contexts()}
    assert len(contexts) == 5
    commitment = contexts["1.2.840.10008.1.20.1"]
    assert (commitment.scu_role, commitment.scp_role) == (True, True)
