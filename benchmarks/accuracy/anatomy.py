"""Suite S3, anatomy: pieces of real bone shapes, solid or as thin walls, cut from the meshes of BodyParts3D.

The meshes, (c) The Database Center for Life Science, CC BY-SA 2.1 Japan, stay where they are; nothing is copied.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.accuracy.grammar import PAIRS_HU
from benchmarks.accuracy.phantom import CELLS, LENGTH_MM, STEP_MM, Phantom, Samples, cover, random_frame
from simulator.meshes import inside

SITES_MM = {
    "ethmoid": (8.0, -140.0, 1514.0),
    "medial orbital wall": (-13.0, -150.0, 1516.0),
    "orbital roof": (28.0, -150.0, 1546.0),
    "sphenoid wing": (-24.0, -122.0, 1520.0),
    "clinoids and sella": (6.0, -112.0, 1526.0),
    "foramen ovale": (26.0, -103.0, 1506.0),
    "jugular foramen": (-22.0, -78.0, 1498.0),
    "petrous bone": (38.0, -80.0, 1514.0),
    "mastoid": (-50.0, -68.0, 1500.0),
    "occipital condyle": (20.0, -65.0, 1486.0),
}
"""Middle of each piece in the patient coordinates of the meshes, mm."""

THIN_MM = 1.5
SAMPLES = 400


def build(name: str, meshes: Path, wall_mm: float | None, random: np.random.Generator) -> Phantom:
    """A piece of the skull about a site, between two media that a random plane parts.

    The meshes are solid; with ``wall_mm`` only so much of the bone is left under the surface, and what is inside is
    an air cell, mucosa or marrow.
    """
    pair = PAIRS_HU[int(random.integers(len(PAIRS_HU)))]
    phantom = Phantom.filled(pair[0])
    _, _, w = random_frame(random).local()
    phantom.put(cover(-w), pair[1])
    centre = np.array(SITES_MM[name])
    bone = np.zeros((CELLS, CELLS, CELLS), np.bool_)
    x, y, z = centre - 0.5 * (LENGTH_MM - STEP_MM)
    for path in sorted(meshes.glob("*.obj")):
        bone |= inside(path, (float(x), float(y), float(z)), STEP_MM, (CELLS, CELLS, CELLS))
    bone_hu, inside_hu = float(random.uniform(1100.0, 1700.0)), float(random.choice([-1000.0, 40.0, -80.0]))
    if wall_mm is not None:
        phantom.put(bone.astype(np.float32), inside_hu)
        bone &= ndimage.distance_transform_edt(bone, sampling=STEP_MM) <= wall_mm + 0.5 * STEP_MM
    phantom.put(bone.astype(np.float32), bone_hu, bone=True)
    phantom.add_plate(_thin(bone, random))
    return phantom


def _thin(bone: NDArray[np.bool_], random: np.random.Generator) -> Samples:
    """Points in the middle of bone thinner than ``THIN_MM``, with the normal of the surface and the thickness along it.

    From random cells of the surface a ray runs inwards along the gradient of the smoothed bone.
    """
    surface = np.argwhere(bone & ~ndimage.binary_erosion(bone, border_value=1))
    if not len(surface):
        return Samples(points_mm=np.zeros((0, 3)), normals=np.zeros((0, 3)), thickness_mm=np.zeros(0))
    surface = surface[random.permutation(len(surface))[: 8 * SAMPLES]]
    smooth = ndimage.gaussian_filter(bone.astype(np.float32), 3.0)
    inwards = np.stack([np.gradient(smooth, axis=axis)[tuple(surface.T)] for axis in range(3)], axis=1)
    inwards /= np.maximum(np.linalg.norm(inwards, axis=1, keepdims=True), 1e-6)
    start = (surface + 0.5) * STEP_MM
    steps = np.arange(0.0, 2 * THIN_MM, 0.5 * STEP_MM)
    cells = ((start[:, None] + steps[None, :, None] * inwards[:, None]) / STEP_MM).astype(int).clip(0, CELLS - 1)
    outside = ~bone[cells[..., 0], cells[..., 1], cells[..., 2]]
    outside[:, :2] = False
    thickness = np.where(outside.any(axis=1), steps[outside.argmax(axis=1)], np.inf) + 0.5 * STEP_MM
    thin = np.flatnonzero(thickness < THIN_MM)[:SAMPLES]
    return Samples(
        points_mm=start[thin] + 0.5 * thickness[thin, None] * inwards[thin],
        normals=inwards[thin],
        thickness_mm=thickness[thin],
    )
