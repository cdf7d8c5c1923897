"""The Presentation Contexts that the node accepts: which SOP Classes, in which transfer syntaxes."""

from __future__ import annotations

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
)
from pynetdicom.presentation import PresentationContext, build_context

__all__ = ["SOP_CLASSES", "decodable_transfer_syntaxes", "presentation_contexts"]

_VERIFICATION = UID("1.2.840.10008.1.1")
_STORAGE_COMMITMENT = UID("1.2.840.10008.1.20.1")
SOP_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
"""A study has other classes too (reports, captures, MR). Their contexts are answered with "abstract syntax
not supported" (PS3.8 table 9-18), and the sender goes on with the rest."""

_UNCOMPRESSED = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
_LOSSY = (JPEGBaseline8Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)
_NOT_FOR_CT = (JPEGExtended12Bit,)
"""The chosen plugins decode only 8 of its 12 bits, and CT has more than 8."""


def decodable_transfer_syntaxes() -> tuple[UID, ...]:
    """Return every transfer syntax whose pixels the installed plugins can decode, the preferred one first.

    What can't be decoded must not be accepted: the sender then converts, or its user sees the reason at once.
    pynetdicom takes the first of ours that a context proposes. Lossy ones come last, so that no sender that
    could do otherwise compresses for us; whoever has a lossy image proposes that alone, or can decompress it.
    """
    decodable = [syntax for syntax in AllTransferSyntaxes if _is_decodable(syntax)]
    return tuple(sorted(decodable, key=_rank))


def _rank(syntax: UID) -> int:
    if syntax in _UNCOMPRESSED:
        return _UNCOMPRESSED.index(syntax)
    return len(_UNCOMPRESSED) + (syntax in _LOSSY)


def presentation_contexts() -> list[PresentationContext]:
    """Return the contexts for storage, Verification (C-ECHO, PS3.4 annex A) and Storage Commitment (annex J).

    Storage Commitment is taken in both roles: as SCP for those who send, as SCU of the archives that report.
    """
    syntaxes: list[str | UID] = list(decodable_transfer_syntaxes())
    commitment = build_context(_STORAGE_COMMITMENT)
    commitment.scu_role = commitment.scp_role = True
    return [build_context(_VERIFICATION), commitment, *(build_context(uid, syntaxes) for uid in SOP_CLASSES)]


def _is_decodable(syntax: UID) -> bool:
    if syntax in _NOT_FOR_CT:
        return False
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:  # video and the like: pydicom has no decoder at all
        return False
