from __future__ import annotations

import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from sbnode.inference.bone import Finding, Foramen
from sbnode.inference.quality import Quality
from sbnode.results.encapsulated import build as build_surface
from sbnode.results.native import native_masks
from sbnode.results.report import NOTICE, Report
from sbnode.results.segmentation import build as build_segmentation
from sbnode.results.structured_report import build
from tests.integration.peers import program
from tests.results.phantom import Scan, derivation, make_scan, to_bytes

STL = b"Units mm".ljust(80) + (1).to_bytes(4, "little") + bytes(50)
OPENINGS = (
    Foramen("foramen ovale", "left", "open", (1.25, -2.5, 3.0), 4.1, 0.96, 1.2),
    Foramen("foramen rotundum", "right", "not resolvable at this slice thickness"),
)
MOTION = Finding("motion", "the patient may have moved by up to 1.2 mm, at z -14.0, z -12.0, z -11.0, z -2.0 mm")


def report_of(scan: Scan, **changes: Any) -> Report:
    values: dict[str, Any] = {
        "job_key": derivation().job_key,
        "series_instance_uid": scan.volume.instances[0].key.series_instance_uid,
        "why": "thin, sharp",
        "left_out": (),
        "slices": len(scan.volume.instances),
        "region": "skull_base",
        "findings": (Finding("tilt", "the gantry was tilted by 18.5 degrees"),),
        "quality": Quality(fwhm_mm=0.7123, slice_mm=1.0, noise_hu=None, thinnest_plate_mm=0.21),
        "flags": (MOTION,),
        "model": derivation().model,
        "provider": "CPUExecutionProvider",
        "bones": (),
        "foramina": OPENINGS,
        "volume_ml": scan.bone.volume_ml,
        "inferred_share": scan.bone.inferred_share,
        "seconds": {},
        "peak_memory_bytes": 10**9,
    }
    return Report(**{**values, **changes})


def bundle(scan: Scan) -> tuple[Dataset, Dataset, Dataset]:
    """Segmentation, surface and report."""
    segmentation = build_segmentation(scan.bone, scan.volume, derivation())
    surface = build_surface(STL, scan.volume, derivation())
    return segmentation, surface, build(report_of(scan), segmentation, surface, scan.volume, derivation())


def segment_groups(scan: Scan) -> list[Any]:
    """The measurement groups of the segments, as highdicom reads them."""
    read = hd.sr.srread(BytesIO(to_bytes(bundle(scan)[2])))
    return list(read.content.get_volumetric_roi_measurement_groups())


def measured(group: Any) -> dict[str, float]:
    return {item.name.meaning: float(item.value) for item in group.get_measurements()}


@pytest.mark.parametrize("case", ["scan", "tilted_scan"])
def test_highdicom_reads_a_measurement_group_per_segment(case: str, request: pytest.FixtureRequest) -> None:
    scan: Scan = request.getfixturevalue(case)
    segmentation, _, document = bundle(scan)
    read = hd.sr.srread(BytesIO(to_bytes(document)))
    groups = read.content.get_volumetric_roi_measurement_groups()
    masks = native_masks(scan.bone, scan.volume.stack)
    stack = scan.volume.stack
    step_mm = float(np.diff(stack.positions_mm).mean())
    voxel_ml = step_mm * stack.row_spacing_mm * stack.column_spacing_mm / 1000
    for group, item, mask in zip(groups, segmentation.SegmentSequence, masks, strict=True):
        assert group.tracking_uid == item.TrackingUID
        assert group.referenced_segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID
        found = measured(group)
        assert found["Volume"] == pytest.approx(np.count_nonzero(mask) * voxel_ml, abs=0.006)
        assert found["X-Ray Attenuation"] == pytest.approx(scan.volume.hu[mask].mean(), abs=0.06)
    whole = measured(read.content.get_image_measurement_groups()[0])
    assert whole["Volume"] == pytest.approx(scan.bone.volume_ml, abs=0.006)
    assert whole["Inferred share of the bone"] == pytest.approx(100 * scan.bone.inferred_share, abs=0.01)


def test_the_scan_and_its_flags_are_in_it(scan: Scan) -> None:
    _, surface, document = bundle(scan)
    read = hd.sr.srread(BytesIO(to_bytes(document)))
    *_, group = read.content.get_image_measurement_groups()
    assert measured(group)["Slice thickness, or the slice step where that is larger"] == 1.0
    assert "Standard deviation of the noise in soft tissue" not in measured(group)
    assert [e.value.meaning for e in group.get_qualitative_evaluations()] == ["motion", "tilt"]
    texts = [item.TextValue for item in walk(read) if item.ValueType == "TEXT"]
    assert MOTION.message in texts
    assert NOTICE in texts
    composites = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in walk(read) if i.ValueType == "COMPOSITE"]
    assert composites == [surface.SOPInstanceUID]


def walk(item: Dataset) -> list[Dataset]:
    found = []
    for child in item.get("ContentSequence", []):
        found += [child, *walk(child)]
    return found


def test_the_evidence_names_all_that_it_refers_to(scan: Scan) -> None:
    segmentation, surface, document = bundle(scan)
    evidence = {
        instance.ReferencedSOPInstanceUID
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    sources = {instance.sop_instance_uid for instance in scan.volume.instances}
    assert evidence | {
        instance.ReferencedSOPInstanceUID
        for study in document.get("PertinentOtherEvidenceSequence", [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    } == {segmentation.SOPInstanceUID, surface.SOPInstanceUID, *sources}
    assert {segmentation.SOPInstanceUID, surface.SOPInstanceUID} <= evidence


def test_the_same_job_gives_the_same_bytes(scan: Scan) -> None:
    assert to_bytes(bundle(scan)[2]) == to_bytes(bundle(scan)[2])


def test_no_flag_and_no_finding_leave_no_evaluation(scan: Scan) -> None:
    segmentation, surface, _ = bundle(scan)
    document = build(report_of(scan, flags=(), findings=()), segmentation, surface, scan.volume, derivation())
    *_, group = hd.sr.srread(BytesIO(to_bytes(document))).content.get_image_measurement_groups()
    assert group.get_qualitative_evaluations() == []


def test_openings_have_their_site_side_calibre_and_place(scan: Scan) -> None:
    read = hd.sr.srread(BytesIO(to_bytes(bundle(scan)[2])))
    _, ovale, rotundum, _ = read.content.get_image_measurement_groups()
    (site,) = ovale.finding_sites
    assert (site.topographical_modifier, site.laterality.meaning) == (None, "Left")
    assert measured(ovale) == {"Diameter": 4.1}
    (place,) = [item for item in walk(read) if item.ValueType == "SCOORD3D"]
    assert list(place.GraphicData) == [1.25, -2.5, 3.0]
    assert place.ReferencedFrameOfReferenceUID == scan.volume.instances[0].frame_of_reference_uid
    assert measured(rotundum) == {}
    (state,) = rotundum.get_qualitative_evaluations()
    assert state.value.meaning == "Not resolvable at this slice thickness"


def test_patient_and_study_are_those_of_the_source(tmp_path: Path) -> None:
    scan = make_scan(tmp_path, PatientName="Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", SpecificCharacterSet="ISO_IR 192")
    document = pydicom.dcmread(BytesIO(to_bytes(bundle(scan)[2])))
    source = pydicom.dcmread(scan.volume.instances[0].path)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "SpecificCharacterSet"):
        assert document.get(keyword) == source.get(keyword), keyword


def test_dciodvfy_and_dsrdump_find_no_error(scan: Scan, tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    bundle(scan)[2].save_as(path, enforce_file_format=True)
    checked = subprocess.run(
        [program("dciodvfy", "dicom3tools"), str(path)], capture_output=True, text=True, check=False
    )
    assert [line for line in checked.stderr.splitlines() if line.startswith("Error")] == []
    dumped = subprocess.run([program("dsrdump", "dcmtk"), str(path)], capture_output=True, text=True, check=False)
    assert dumped.returncode == 0, dumped.stderr
    assert "Imaging Measurement Report" in dumped.stdout
    assert "Skull base" in dumped.stdout or "Base of skull" in dumped.stdout


def test_a_segmentation_with_one_segment_gives_one_group(scan: Scan) -> None:
    nothing = replace(scan, bone=replace(scan.bone, inferred=np.zeros_like(scan.bone.inferred)))
    assert len(segment_groups(nothing)) == 1


def test_bone_that_is_all_inferred_leaves_a_segment_without_a_mean(scan: Scan) -> None:
    inferred = replace(scan, bone=replace(scan.bone, inferred=scan.bone.level > 0))
    certain, thin = segment_groups(inferred)
    assert measured(certain) == {"Volume": 0.0}
    assert measured(thin)["Volume"] > 0


def test_a_multi_frame_source_is_measured_frame_by_frame(scan: Scan) -> None:
    count = len(scan.volume.instances)
    source = replace(scan.volume.instances[0], sop_class_uid="1.2.840.10008.5.1.4.1.1.2.1", sop_instance_uid="1.2.3.4")
    many = replace(scan.volume, instances=(source,) * count, frames=tuple(range(count, 0, -1)))
    expected, found = ([measured(g) for g in segment_groups(one)] for one in (scan, replace(scan, volume=many)))
    assert found == expected


def test_uneven_slices_count_for_their_own_steps(tmp_path: Path) -> None:
    positions = np.concatenate([np.arange(-14.0, 0.0, 1.0), np.arange(0.0, 14.0, 0.7)])
    scan = make_scan(tmp_path, positions_mm=positions.tolist())
    certain, thin = segment_groups(scan)
    assert measured(certain)["Volume"] + measured(thin)["Volume"] == pytest.approx(scan.bone.volume_ml, rel=0.06)
