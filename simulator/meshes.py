"""Closed meshes on a grid of cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support

__all__ = ["inside"]


def inside(
    path: Path, first_mm: tuple[float, float, float], spacing_mm: float, shape_xyz: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Cells, (z, y, x), whose middle lies inside the closed mesh of an OBJ file.

    Args:
        path: the mesh; its coordinates are mm.
        first_mm: the middle of the first cell (x, y, z).
        spacing_mm: edge of a cell.
        shape_xyz: cells along x, y and z.
    """
    reader = vtk.vtkOBJReader()
    reader.SetFileName(str(path))
    clean = vtk.vtkCleanPolyData()
    clean.SetInputConnection(reader.GetOutputPort())
    clean.Update()
    low, high = np.array(clean.GetOutput().GetBounds()).reshape(3, 2).T
    last_mm = np.array(first_mm) + spacing_mm * (np.array(shape_xyz) - 1)
    if np.any(low > last_mm) or np.any(high < first_mm):
        return np.zeros(shape_xyz[::-1], np.bool_)
    stencil = vtk.vtkPolyDataToImageStencil()
    stencil.SetInputConnection(clean.GetOutputPort())
    stencil.SetOutputOrigin(*first_mm)
    stencil.SetOutputSpacing(spacing_mm, spacing_mm, spacing_mm)
    stencil.SetOutputWholeExtent(*(bound for size in shape_xyz for bound in (0, size - 1)))
    image = vtk.vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutsideValue(0)
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    values = numpy_support.vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
    return np.asarray(values.reshape(shape_xyz[::-1]) > 0)
