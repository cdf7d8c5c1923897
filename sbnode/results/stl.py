"""Binary STL."""

from __future__ import annotations

import numpy as np

from sbnode.results.surface import Surface

__all__ = ["HEADER", "to_bytes"]

HEADER = b"Units mm; DICOM patient coordinates LPS; RESEARCH, not a medical device; sbnode"
"""The 80 bytes before the triangles, which STL has no other place for; padded with blanks."""

_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def to_bytes(surface: Surface) -> bytes:
    """Return ``surface`` as binary STL: 84 + 50 bytes per triangle, always an even number.

    Corners are LPS patient mm, normals of unit length point outward; a triangle without area has normal 0.
    """
    records = np.zeros(len(surface.triangles), _TRIANGLE)
    corners = surface.vertices_mm[surface.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    records["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    records["corners"] = corners
    return HEADER.ljust(80) + len(records).to_bytes(4, "little") + records.tobytes()
