"""CT instances for tests: the data set alone, as it goes over an association."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)

STUDY = "1.2.826.0.1.3680043.8.498.1"
SERIES = "1.2.826.0.1.3680043.8.498.1.1"
CANARY = "CANARY^PATIENT"


def ct_slice(
    number: int = 1,
    *,
    study: str = STUDY,
    series: str = SERIES,
    sop_instance_uid: str | None = None,
    z_mm: float | None = None,
    value: int = 100,
    size: int = 16,
    patient: str = "CANARY-ID",
) -> Dataset:
    """One axial slice; its UID follows from series and number, so that the same call gives the same bytes."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = sop_instance_uid or f"{series}.{number}"
    dataset.Modality = "CT"
    dataset.SeriesDescription = "Head 1.0 H60s"
    dataset.PatientName = CANARY
    dataset.PatientID = patient
    dataset.SliceThickness = 1.0
    dataset.ConvolutionKernel = "H60s"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = series
    dataset.SeriesNumber = 2
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [-10.0, -20.0, float(number) if z_mm is None else z_mm]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.FrameOfReferenceUID = f"{study}.9"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = size
    dataset.PixelSpacing = [0.5, 0.5]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.RescaleIntercept = "-1024"
    dataset.RescaleSlope = "1"
    dataset["PixelData"] = dataset.data_element("Rows").__class__(
        0x7FE00010, "OW", np.full((size, size), value, np.int16).tobytes()
    )
    return dataset


def encoded(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The bytes of ``dataset`` in an uncompressed transfer syntax."""
    syntax = type(ExplicitVRLittleEndian)(transfer_syntax)
    if not syntax.is_little_endian:
        dataset["PixelData"]._value = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(stream, dataset)
    content: bytes = stream.getvalue()
    if syntax == DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = deflater.compress(content) + deflater.flush()
        content += bytes(len(content) % 2)
    return content


def files(folder: Path, datasets: Sequence[Dataset]) -> list[Path]:
    """Write ``datasets`` as files that storescu can send."""
    paths = []
    for index, dataset in enumerate(datasets):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = generate_uid()
        path = folder / f"{index:04d}.dcm"
        file = FileDataset(str(path), dataset, file_meta=meta, preamble=bytes(128))
        file.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
