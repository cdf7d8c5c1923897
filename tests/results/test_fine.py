from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from sbnode.results.fine import write_nrrd
from tests.results.phantom import Scan


@pytest.mark.parametrize("case", ["scan", "tilted_scan"])
def test_simpleitk_reads_the_labels_at_their_place(case: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    scan: Scan = request.getfixturevalue(case)
    path = tmp_path / "bone.seg.nrrd"
    write_nrrd(scan.bone, path)
    image = SimpleITK.ReadImage(path)
    labels = SimpleITK.GetArrayFromImage(image)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels == 2, scan.bone.inferred)
    assert np.array_equal(labels > 0, scan.bone.level > 0)
    for index in ((0, 0, 0), (3, 11, 7)):
        place = image.TransformIndexToPhysicalPoint((index[2], index[1], index[0]))
        assert place == pytest.approx(scan.bone.grid.to_patient(np.array(index, float)), abs=1e-6)


def test_the_header_has_the_keys_of_slicer(scan: Scan, tmp_path: Path) -> None:
    path = tmp_path / "bone.seg.nrrd"
    write_nrrd(scan.bone, path, "all_bone")
    image = SimpleITK.ReadImage(path)
    assert image.GetMetaData("NRRD_space") == "left-posterior-superior"
    slices, rows, columns = scan.bone.grid.shape
    for number, name in ((0, "Bone"), (1, "Inferred thin bone")):
        assert image.GetMetaData(f"Segment{number}_Name") == name
        assert image.GetMetaData(f"Segment{number}_LabelValue") == str(number + 1)
        assert image.GetMetaData(f"Segment{number}_Layer") == "0"
        extent = f"0 {columns - 1} 0 {rows - 1} 0 {slices - 1}"
        assert image.GetMetaData(f"Segment{number}_Extent") == extent
        colour = [float(v) for v in image.GetMetaData(f"Segment{number}_Color").split()]
        assert len(colour) == 3
        assert all(0 <= v <= 1 for v in colour)


def test_the_same_bone_gives_the_same_bytes(scan: Scan, tmp_path: Path) -> None:
    for name in ("a.nrrd", "b.nrrd"):
        write_nrrd(scan.bone, tmp_path / name)
    assert (tmp_path / "a.nrrd").read_bytes() == (tmp_path / "b.nrrd").read_bytes()
    assert b"RESEARCH" in (tmp_path / "a.nrrd").read_bytes()[:200]
