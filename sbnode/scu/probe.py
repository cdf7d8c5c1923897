"""What a destination takes: every class and transfer syntax that the node could send, offered in one association."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedSTLStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from sbnode.config import Destination, ResultObject
from sbnode.errors import DestinationRefused
from sbnode.scu.association import association

__all__ = ["OBJECT_CLASSES", "Offer", "probe", "refused_objects"]

LABEL_MAP_SEGMENTATION = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage (PS3.4 table B.5-1)."""
OBJECT_CLASSES: dict[ResultObject, UID] = {
    "seg": SegmentationStorage,
    "stl": EncapsulatedSTLStorage,
    "sr": Comprehensive3DSRStorage,
    "preview": SecondaryCaptureImageStorage,
    "fine": SegmentationStorage,
    "labelmap": LABEL_MAP_SEGMENTATION,
}
"""SOP class of each object that a destination may be sent."""
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_OFFERS: tuple[tuple[UID, tuple[UID, ...]], ...] = (
    (SegmentationStorage, (*_UNCOMPRESSED, DeflatedExplicitVRLittleEndian, RLELossless)),
    (LABEL_MAP_SEGMENTATION, (*_UNCOMPRESSED, DeflatedExplicitVRLittleEndian, RLELossless)),
    (EncapsulatedSTLStorage, (*_UNCOMPRESSED, DeflatedExplicitVRLittleEndian)),
    (Comprehensive3DSRStorage, (*_UNCOMPRESSED, DeflatedExplicitVRLittleEndian)),
    (SecondaryCaptureImageStorage, (*_UNCOMPRESSED, RLELossless)),
    (Verification, _UNCOMPRESSED),
    (StorageCommitmentPushModel, _UNCOMPRESSED),
    (StudyRootQueryRetrieveInformationModelFind, _UNCOMPRESSED),
    (StudyRootQueryRetrieveInformationModelMove, _UNCOMPRESSED),
)


_SENT_IN: dict[ResultObject, UID] = {"labelmap": RLELossless}
"""The one transfer syntax of objects that are sent compressed."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A SOP class, and the transfer syntaxes in which the destination takes it; none: it refuses the class."""

    sop_class: UID
    syntaxes: tuple[UID, ...]

    @property
    def name(self) -> str:
        """Name of the class in PS3.6; pydicom knows most of them."""
        return "Label Map Segmentation Storage" if self.sop_class == LABEL_MAP_SEGMENTATION else self.sop_class.name


def probe(destination: Destination, calling_ae_title: str) -> tuple[Offer, ...]:
    """Return what ``destination`` accepts of all that was offered. Nothing is sent.

    Each class is offered once per transfer syntax, so that the answer names every syntax (PS3.8 section 9.3.3).

    Raises:
        DestinationUnavailable: no connection, no answer in time, or the association was rejected.
    """
    contexts = [build_context(sop_class, syntax) for sop_class, syntaxes in _OFFERS for syntax in syntaxes]
    taken: set[tuple[str, str]] = set()
    try:
        with association(destination, contexts, calling_ae_title) as established:
            for context in established.accepted_contexts:
                taken.add((str(context.abstract_syntax), str(context.transfer_syntax[0])))
    except DestinationRefused:
        pass  # it took none of them: that is the answer
    return tuple(
        Offer(sop_class, tuple(syntax for syntax in syntaxes if (sop_class, syntax) in taken))
        for sop_class, syntaxes in _OFFERS
    )


def refused_objects(objects: Sequence[ResultObject], offers: Sequence[Offer]) -> tuple[ResultObject, ...]:
    """Return those of ``objects`` that would become dead letters.

    A label map that isn't taken is one only if the binary segmentation, which is sent in its place, isn't either, or is
    listed beside it.
    """
    taken = {offer.sop_class: offer.syntaxes for offer in offers if offer.syntaxes}

    def is_taken(kind: ResultObject) -> bool:
        syntaxes = taken.get(OBJECT_CLASSES[kind], ())
        return bool(syntaxes) and _SENT_IN.get(kind, syntaxes[0]) in syntaxes

    refused = [kind for kind in objects if not is_taken(kind)]
    if "labelmap" in refused and "seg" not in objects and is_taken("seg"):
        refused.remove("labelmap")
    return tuple(refused)
