"""Reading a series: sorted slices in Hounsfield units with their true geometry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from sbnode.config import Selection
from sbnode.errors import SeveralPatients, UndecodablePixels
from sbnode.filing import patient_digest
from sbnode.inference.bone import Finding
from sbnode.inference.geometry import SliceStack
from sbnode.inference.stack import Plane, build_stack, read_planes
from sbnode.series import Instance, Series

__all__ = ["AIR_HU", "Volume", "read_volume"]

DECODER_ERRORS = (
    AttributeError,
    EOFError,
    InvalidDicomError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What pydicom and its decoders raise for pixel data that is damaged, cut short or unsupported."""
AIR_HU = -1024
"""Padding and everything below is set to this: no tissue lies lower."""
HIGHEST_HU = 30000
"""Extended scales of metal end here; keeps the value inside int16."""
NO_CONTRAST = frozenset({"", "N", "NO", "NONE", "NA", "N/A", "NATIVE", "WITHOUT"})
"""What scanners write as Contrast/Bolus Agent (0018,0010) when there was none."""
NO_AIR_HU = -200
"""A head always has air in or around it. Where the darkest 0.1 % lie above this, the values aren't Hounsfield units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A CT series as an array.

    ``hu`` holds Hounsfield units, int16, shape ``stack.shape`` (slice, row, column); padding is -1024. Slice k is
    frame ``frames[k]`` (counted from 1) of ``instances[k]``; an enhanced multi-frame image repeats its instance.
    """

    hu: NDArray[np.int16]
    stack: SliceStack
    instances: tuple[Instance, ...]
    frames: tuple[int, ...]
    findings: tuple[Finding, ...] = ()


def read_volume(series: Series, rules: Selection, progress: Callable[[float], None] = lambda share: None) -> Volume:
    """Read the pixels of ``series`` into one volume.

    Args:
        series: the instances; localizers among them are left out.
        rules: limits of what is safe.
        progress: called with the share that is done, 0..1.

    Raises:
        UnsafeGeometry: the slices don't make one stack.
        SeveralPatients: they name different patients.
        UndecodablePixels: pixels can't be decoded, or aren't Hounsfield units.
    """
    stack, planes, findings = build_stack(read_planes(series), max_slice_step_mm=rules.max_slice_step_mm)
    hu = np.empty(stack.shape, np.int16)
    wanted: dict[Path, list[int]] = {}
    for index, plane in enumerate(planes):
        wanted.setdefault(plane.instance.path, []).append(index)

    def read(path: Path) -> _Facts:
        return _read_file(path, planes, wanted[path], hu)

    facts: list[_Facts] = []
    # The decoders release the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, fact in enumerate(pool.map(read, wanted), start=1):
            facts.append(fact)
            progress(done / len(wanted))
    findings += _check_facts(facts) + _check_hounsfield(hu)
    return Volume(
        hu=hu,
        stack=stack,
        instances=tuple(plane.instance for plane in planes),
        frames=tuple(plane.frame for plane in planes),
        findings=findings,
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What must agree between the files of a series; the patient is compared and never told."""

    patient: str
    lossy: bool
    contrast: bool
    rescale_type: str


def _read_file(path: Path, planes: tuple[Plane, ...], indices: Iterable[int], hu: NDArray[np.int16]) -> _Facts:
    """Decode the frames of one file into ``hu`` at ``indices``."""
    try:
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array
    except DECODER_ERRORS as error:
        raise UndecodablePixels(f"{path.name}: the pixel data can't be decoded: {type(error).__name__}") from error
    frames = pixels[None] if pixels.ndim == 2 else pixels
    for index in indices:
        frame = planes[index].frame
        if frame > len(frames) or frames[frame - 1].shape != hu.shape[1:]:
            raise UndecodablePixels(f"{path.name}: the pixel data doesn't have the size that the header gives")
        slope, intercept = _rescale(dataset, frame, path)
        hu[index] = _hounsfield(frames[frame - 1], slope, intercept)
    return _Facts(
        patient=patient_digest(dataset),
        lossy=str(dataset.get("LossyImageCompression") or "") == "01",
        contrast=_contrast(dataset),
        rescale_type=str(dataset.get("RescaleType") or "HU"),
    )


def _contrast(dataset: Dataset) -> bool:
    """Whether the header names a contrast agent, at its old or its new place."""
    agent = str(dataset.get("ContrastBolusAgent") or "").strip().upper()
    return agent not in NO_CONTRAST or bool(dataset.get("ContrastBolusAgentSequence"))


def _rescale(dataset: Dataset, frame: int, path: Path) -> tuple[float, float]:
    """Rescale slope and intercept of a frame (PS3.3 C.11.1.1.2), from the frame, the shared groups or the image."""
    sources: list[Dataset] = [dataset]
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame - 1 : frame]
    for group in [*per_frame, *list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]]:
        sources.extend(list(group.get("PixelValueTransformationSequence") or [])[:1])
    for source in reversed(sources):
        if source.get("RescaleSlope") is not None and source.get("RescaleIntercept") is not None:
            return float(source.RescaleSlope), float(source.RescaleIntercept)
    raise UndecodablePixels(f"{path.name}: Rescale Slope or Intercept is missing, so the values have no unit")


def _hounsfield(stored: NDArray[np.generic], slope: float, intercept: float) -> NDArray[np.int16]:
    """Padding (PS3.3 C.7.5.1.1.2) lies below air on every known scanner, -1500 to -3024, and becomes air."""
    values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    rounded: NDArray[np.int16] = np.rint(np.clip(values, AIR_HU, HIGHEST_HU)).astype(np.int16)
    return rounded


def _check_facts(facts: list[_Facts]) -> tuple[Finding, ...]:
    patients = {fact.patient for fact in facts}
    if len(patients) > 1:
        raise SeveralPatients(f"the images of the series name {len(patients)} different patients")
    units = {fact.rescale_type for fact in facts} - {"HU", "US"}
    if units:
        raise UndecodablePixels(f"Rescale Type is {', '.join(sorted(units))}, not HU")
    found = []
    if any(fact.lossy for fact in facts):
        found.append(Finding("lossy_compression", "the images were compressed with loss; fine detail may be missing"))
    if any(fact.contrast for fact in facts):
        found.append(Finding("contrast", "contrast medium was given; vessels on bone may look like bone"))
    return tuple(found)


def _check_hounsfield(hu: NDArray[np.int16]) -> tuple[Finding, ...]:
    sample = hu[:: max(1, len(hu) // 32), ::4, ::4]
    darkest = float(np.percentile(sample, 0.1))
    if darkest > NO_AIR_HU:
        raise UndecodablePixels(
            f"the values are not Hounsfield units: the darkest 0.1 % lie at {darkest:.0f}, air would be near -1000"
        )
    return ()
