"""Reading a series: sorted slices in Hounsfield units with their true geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sbnode.inference.bone import Finding
from sbnode.inference.geometry import SliceStack
from sbnode.series import Instance

__all__ = ["Volume"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A CT series as an array.

    ``hu`` holds Hounsfield units, int16, shape ``stack.shape`` (slice, row, column); padding is -1024. Slice k
    comes from ``instances[k]`` (for enhanced multi-frame: from ``instances[0]``, frame ``frames[k]``, counted from 1).
    """

    hu: NDArray[np.int16]
    stack: SliceStack
    instances: tuple[Instance, ...]
    frames: tuple[int, ...]
    findings: tuple[Finding, ...] = ()
