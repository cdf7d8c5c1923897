"""The frame of the atlas in a patient: where named places lie, to a centimetre or two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sbnode.inference.region import RegionMap

Points = NDArray[np.float64]

LIKELY = 0.5
ROUNDS, KEPT = 3, 0.8


@dataclass(frozen=True)
class AtlasFrame:
    """An affine map: patient mm (left, back, up) = place mm @ matrix + offset."""

    matrix: Points
    offset_mm: Points

    @classmethod
    def of(cls, region: RegionMap) -> AtlasFrame:
        """Fit it to the places of the cells in the region: least squares, three times without the worst fifth.

        The places are what is uncertain, so they are fitted as a function of the positions, and the map is inverted.
        The network draws the left coordinate towards the middle, because bone looks alike on both sides: that axis
        gets the length of the mean of the other two.
        """
        cells = np.argwhere(region.inside > LIKELY)
        patient = region.grid.to_patient(cells.astype(np.float64))
        place = region.place_mm[(slice(None), *cells.T)].T.astype(np.float64)
        design = np.column_stack([patient, np.ones(len(patient))])
        kept = np.ones(len(place), np.bool_)
        for _ in range(ROUNDS):
            solution = np.asarray(np.linalg.lstsq(design[kept], place[kept], rcond=None)[0], np.float64)
            away = np.linalg.norm(design @ solution - place, axis=1)
            kept = away <= np.quantile(away, KEPT)
        matrix = np.asarray(np.linalg.inv(solution[:3]), np.float64)
        lengths = np.linalg.norm(matrix, axis=1)
        offset = -solution[3] @ matrix
        matrix[0] *= lengths[1:].mean() / lengths[0]
        return cls(matrix, offset)

    def to_patient(self, place_mm: Points) -> Points:
        """Places (..., 3), mm to the left, back and up from the middle of the atlas' head, to patient mm."""
        mapped: Points = place_mm @ self.matrix + self.offset_mm
        return mapped
