"""Tilted series of real scanners: two independent readers and the STL put the bone at the same patient coordinates."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK
import trimesh
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage, spatial

from benchmarks.region import series_in
from sbnode.config import Selection
from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid
from sbnode.inference.volume import Volume, read_volume
from sbnode.results import stl, surface
from sbnode.results.panels import sample_hu
from sbnode.results.segmentation import build, build_fine
from tests.conftest import unavailable
from tests.results.phantom import derivation

SERIES = ("ge-hispeed-tilted", "philips-phantom-tilted")
TOLERANCE_MM = 0.1
BONE_HU = 400.0

Points = NDArray[np.float64]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=SERIES)
def tilted(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Bone, Volume]:
    """A real volume, and a fixed threshold as its bone: geometry needs no network."""
    series = max(series_in(shared_data / request.param), key=lambda one: len(one.instances))
    volume = read_volume(series, Selection(max_slice_step_mm=9.0))
    found = np.argwhere(volume.hu > BONE_HU)
    middle = volume.stack.to_patient(np.median(found, axis=0, keepdims=True).astype(np.float64))
    grid = Grid.around(middle, volume.stack, spacing_mm=0.4, margin_mm=45.0)
    level = np.empty(grid.shape, np.float32)
    for k in range(grid.shape[0]):
        rows, columns = np.indices(grid.shape[1:], dtype=np.float64)
        points = grid.to_patient(np.stack([np.full_like(rows, k), rows, columns], axis=-1))
        level[k] = np.clip((sample_hu(volume, points) - BONE_HU) / 1000, -0.5, 0.5)
    nothing = np.zeros(grid.shape, bool)
    return Bone(grid=grid, level=level, inferred=nothing, canal=nothing, plate=nothing), volume


def read_by_highdicom(path: Path) -> Points:
    volume = hd.seg.segread(path).get_volume()
    return np.asarray(volume.map_indices_to_reference(np.argwhere(volume.array[..., 0] > 0)))


def read_by_dcmqi(path: Path) -> Points:
    converter = Path(sys.executable).with_name("segimage2itkimage")
    if not converter.exists():
        unavailable("segimage2itkimage is not installed: pip install dcmqi")
    options = ["--inputDICOM", path, "--outputDirectory", path.parent, "--outputType", "nrrd"]
    subprocess.run([converter, *options], check=True, capture_output=True)
    image = SimpleITK.ReadImage(path.parent / "1.nrrd")
    cells = np.argwhere(SimpleITK.GetArrayFromImage(image))[:, ::-1]
    direction = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    return np.asarray(cells @ direction.T + image.GetOrigin())


def test_the_readers_and_the_stl_agree(tilted: tuple[Bone, Volume], tmp_path: Path) -> None:
    bone, volume = tilted
    assert abs(np.dot(np.cross(volume.stack.row_direction, volume.stack.column_direction), _steps(volume))) < 0.999
    path = tmp_path / "fine.dcm"
    build_fine(bone, volume, derivation()).save_as(path, enforce_file_format=True)
    places = [points[np.lexsort(points.T)] for points in (read_by_highdicom(path), read_by_dcmqi(path))]
    assert len(places[0]) == len(places[1]) == np.count_nonzero(bone.mask)
    for first, second in zip(_box(places[0]), _box(places[1]), strict=True):
        assert np.abs(first - second).max() < 0.01
    mesh = trimesh.load(BytesIO(stl.to_bytes(surface.extract(bone, 600_000))), file_type="stl")
    for points in places:
        assert np.abs(points.mean(axis=0) - mesh.center_mass).max() < TOLERANCE_MM
        away_mm, _ = spatial.cKDTree(points).query(mesh.vertices[::50])
        assert np.quantile(away_mm, 0.99) < bone.grid.spacing_mm


def test_the_voxels_on_the_slices_lie_in_the_bone_of_the_stl(tilted: tuple[Bone, Volume]) -> None:
    bone, volume = tilted
    points = native_places(build(bone, volume, derivation()))
    level = ndimage.map_coordinates(bone.level, bone.grid.to_index(points).T, order=1, mode="nearest")
    assert np.mean(level > 0) > 0.97


def native_places(segmentation: Dataset) -> Points:
    """Patient coordinates of all voxels, by the attributes of every frame (PS3.3 C.7.6.2.1.1) and no library."""
    buffer = BytesIO()
    segmentation.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    read = pydicom.dcmread(buffer)
    shared = read.SharedFunctionalGroupsSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    found = []
    for group, frame in zip(read.PerFrameFunctionalGroupsSequence, read.pixel_array, strict=True):
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        r, c = np.nonzero(frame)
        found.append(origin + c[:, None] * spacing[1] * row + r[:, None] * spacing[0] * column)
    return np.concatenate(found)


def _steps(volume: Volume) -> Points:
    step = volume.stack.origins_mm[-1] - volume.stack.origins_mm[0]
    return np.asarray(step / np.linalg.norm(step))


def _box(points: Points) -> Points:
    return np.stack([points.min(axis=0), points.max(axis=0)])
