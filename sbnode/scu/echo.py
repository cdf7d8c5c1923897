"""C-ECHO: whether a destination answers (PS3.4 annex A)."""

from __future__ import annotations

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from sbnode.config import Peer
from sbnode.errors import DestinationUnavailable
from sbnode.scu.association import association

__all__ = ["SYNTAXES", "echo"]

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
"""What is proposed."""


def echo(destination: Peer, calling_ae_title: str) -> None:
    """Return when ``destination`` answers C-ECHO with success.

    Raises:
        DestinationUnavailable: no connection, no answer in time, association rejected, or another status.
        DestinationRefused: it doesn't accept the Verification SOP class.
    """
    with association(destination, [build_context(Verification, list(SYNTAXES))], calling_ae_title) as established:
        response = established.send_c_echo()
    if response.get("Status") != 0x0000:
        raise DestinationUnavailable(f"destination '{destination.name}' did not answer C-ECHO with success")
