"""Writing simulated Hounsfield units as a valid CT Image Storage series (PS3.3 A.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian

from sbnode.inference.geometry import SliceStack

__all__ = ["axial_stack", "simulated_uid", "write_series"]

Order = Literal["ascending", "descending", "shuffled"]

_MADE_AT = datetime(2026, 1, 2, 3, 4, 5)
_INTERCEPT_HU = -1024


def axial_stack(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    *,
    positions_mm: Sequence[float] | None = None,
    tilt_degrees: float = 0.0,
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> SliceStack:
    """Return the planes of an axial series (rows to the left, columns to the back, slices upwards).

    Args:
        shape: slices, rows and columns.
        spacing_mm: slice step along patient z, distance of rows, distance of columns.
        positions_mm: position of each slice along patient z, strictly increasing; default: even steps.
        tilt_degrees: rotation of the planes about the left-right axis, as a tilted gantry gives it. The table still
            moves along patient z, so the stack is sheared.
        centre_mm: LPS position of the middle of the stack.
    """
    slices, rows, columns = shape
    if positions_mm is None:
        positions_mm = [spacing_mm[0] * (k - (slices - 1) / 2) for k in range(slices)]
    angle = math.radians(tilt_degrees)
    row_direction = np.array([1.0, 0.0, 0.0])
    column_direction = np.array([0.0, math.cos(angle), math.sin(angle)])
    corner = np.asarray(centre_mm, dtype=np.float64)
    corner = corner - (columns - 1) / 2 * spacing_mm[2] * row_direction
    corner = corner - (rows - 1) / 2 * spacing_mm[1] * column_direction
    origins = corner + np.outer(np.asarray(positions_mm, dtype=np.float64), [0.0, 0.0, 1.0])
    return SliceStack(
        origins_mm=origins,
        row_direction=row_direction,
        column_direction=column_direction,
        row_spacing_mm=spacing_mm[1],
        column_spacing_mm=spacing_mm[2],
        rows=rows,
        columns=columns,
    )


def simulated_uid(*names: object) -> UID:
    """Return the UID under 2.25 (PS3.5 B.2) that belongs to ``names``: the same names, the same UID."""
    number = int.from_bytes(sha256("/".join(map(str, names)).encode()).digest()[:16], "big")
    return UID(f"2.25.{number}")


def write_series(
    hu: NDArray[Any],
    stack: SliceStack,
    folder: Path,
    *,
    study: str = "simulated study",
    series: str = "simulated series",
    transfer_syntax: str = ExplicitVRLittleEndian,
    order: Order = "ascending",
    **attributes: Any,
) -> list[Path]:
    """Write ``hu`` as one CT series and return its files in the order of their Instance Numbers.

    Args:
        hu: Hounsfield units, shape ``stack.shape`` (slice, row, column); clipped to -1024..3071 (12 bits).
        stack: where the slices lie.
        folder: made when missing; gets ``0001.dcm`` and so on.
        study: names the study; the same name gives the same Study Instance UID (and Frame of Reference UID).
        series: names the series within the study, likewise.
        transfer_syntax: UID. The uncompressed ones, Deflated, RLE Lossless, JPEG-LS and JPEG 2000 (from 64 x 48
            pixels on) can be written.
        order: how Instance Numbers and file names run along the stack.
        attributes: more attributes by keyword, or other values for the ones set here; ``None`` leaves one out.

    Raises:
        ValueError: when ``hu`` doesn't have the shape of ``stack``.
    """
    if hu.shape != stack.shape:
        raise ValueError(f"hu has shape {hu.shape}, the stack {stack.shape}")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, k in enumerate(_sequence(len(hu), order), start=1):
        dataset = _slice(hu[k], stack, k, number, study, series)
        for keyword, value in attributes.items():
            if value is None:
                dataset.pop(keyword, None)
            else:
                setattr(dataset, keyword, value)
        path = folder / f"{number:04d}.dcm"
        _save(dataset, transfer_syntax, path)
        paths.append(path)
    return paths


def _sequence(slices: int, order: Order) -> Sequence[int]:
    if order == "shuffled":
        return [int(k) for k in np.random.default_rng(slices).permutation(slices)]
    return range(slices) if order == "ascending" else range(slices - 1, -1, -1)


def _slice(hu: NDArray[Any], stack: SliceStack, k: int, number: int, study: str, series: str) -> FileDataset:
    uid = simulated_uid(study, series, k)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid
    _patient_and_study(dataset, study)
    _series_and_equipment(dataset, study, series)
    _plane(dataset, stack, k, number)
    _pixels(dataset, hu)
    return dataset


def _patient_and_study(dataset: Dataset, study: str) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Simulated^Head"
    dataset.PatientID = "SIMULATED-HEAD"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = simulated_uid(study)
    dataset.StudyDate = _MADE_AT.strftime("%Y%m%d")
    dataset.StudyTime = _MADE_AT.strftime("%H%M%S")
    dataset.StudyID = "1"
    dataset.StudyDescription = "Simulated head CT"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""


def _series_and_equipment(dataset: Dataset, study: str, series: str) -> None:
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = simulated_uid(study, series)
    dataset.SeriesNumber = 2
    dataset.SeriesDescription = "Head bone"
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = dataset.StudyDate
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = dataset.StudyTime
    dataset.PatientPosition = "HFS"
    dataset.BodyPartExamined = "HEAD"
    dataset.FrameOfReferenceUID = simulated_uid(study, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = "sbnode simulator"
    dataset.ManufacturerModelName = "sbnode simulator"
    dataset.KVP = 120
    dataset.ConvolutionKernel = "BONE"


def _plane(dataset: Dataset, stack: SliceStack, k: int, number: int) -> None:
    positions = stack.positions_mm
    steps = np.diff(positions)
    thickness = float(np.median(steps)) if steps.size else 1.0
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.AcquisitionNumber = 1
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [_decimal(v) for v in stack.origins_mm[k]]
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*stack.row_direction, *stack.column_direction)]
    dataset.PixelSpacing = [_decimal(stack.row_spacing_mm), _decimal(stack.column_spacing_mm)]
    dataset.SliceThickness = _decimal(thickness)
    dataset.SliceLocation = _decimal(positions[k])


def _decimal(value: float) -> str:
    """Return ``value`` as a Decimal String, at most 16 characters (PS3.5 section 6.2)."""
    return f"{round(float(value), 6) + 0.0:.6f}"


def _pixels(dataset: Dataset, hu: NDArray[Any]) -> None:
    stored = (np.clip(np.rint(hu), -1024, 3071) - _INTERCEPT_HU).astype("<u2")
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept = _INTERCEPT_HU
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter = 500
    dataset.WindowWidth = 2500
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"


def _save(dataset: FileDataset, transfer_syntax: str, path: Path) -> None:
    syntax = UID(transfer_syntax)
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        path,
        dataset,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        enforce_file_format=True,
    )
