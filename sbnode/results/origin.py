"""What every result object says of the node and the model that made it, and when."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from sbnode import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, __version__
from sbnode.results.identity import Derivation
from sbnode.results.segments import INFERRED_LABEL

__all__ = ["algorithm", "contributing_equipment", "stamp"]


def contributing_equipment(derivation: Derivation) -> hd.ContributingEquipment:
    """Return the item of the Contributing Equipment Sequence that names this node and its model."""
    return hd.ContributingEquipment(
        manufacturer="sbnode",
        manufacturer_model_name="sbnode",
        software_versions=[__version__, f"{derivation.model.name} {derivation.model.version}"],
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        contribution_datetime=derivation.made_at,
        contribution_description="Segmentation of skull bone. Research, not a medical device.",
    )


def algorithm(derivation: Derivation, segment_number: int = 1) -> hd.AlgorithmIdentificationSequence:
    """Return the Algorithm Identification (PS3.3 table 10-19) of a segment.

    Certain bone is named after the model, inferred bone after the adaptive threshold that admitted it; each
    names the other's parameters. One item each: the standard permits more, but highdicom 0.28 then refuses to
    read the object.
    """
    model = {"model": derivation.model.name, "sha256": derivation.model.sha256, "region": derivation.region}
    threshold = {f"threshold_{name}": str(value) for name, value in derivation.threshold.model_dump().items()}
    if segment_number == INFERRED_LABEL:
        return hd.AlgorithmIdentificationSequence(
            name="sbnode adaptive threshold",
            family=codes.DCM.AdaptiveFiltering,
            version=__version__,
            source="sbnode",
            parameters={**threshold, **model, "model_version": derivation.model.version},
        )
    return hd.AlgorithmIdentificationSequence(
        name=derivation.model.name,
        family=codes.DCM.ArtificialIntelligence,
        version=derivation.model.version,
        source="sbnode",
        parameters={**model, **threshold},
    )


def stamp(result: Dataset, derivation: Derivation) -> None:
    """Name the software in the file, and set the dates that highdicom takes from the clock to that of the job."""
    made_at = derivation.made_at
    result.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    result.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    result.SeriesDate = result.InstanceCreationDate = made_at.strftime("%Y%m%d")
    result.SeriesTime = result.InstanceCreationTime = made_at.strftime("%H%M%S.%f")
    for item in result.get("ContributingEquipmentSequence", []):
        if item.get("ManufacturerModelName") == "highdicom":
            item.ContributionDateTime = made_at.strftime("%Y%m%d%H%M%S.%f")
