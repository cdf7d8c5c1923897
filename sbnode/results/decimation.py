"""Fewer triangles for the same surface, in a process of its own.

The library keeps the largest mesh it has seen in static memory for good. A child process gives it back:
``python -m sbnode.results.decimation`` takes a mesh on standard input.
"""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decimate"]

_AGGRESSIVENESS = 7.0
"""The default of fast-simplification; lower is slower."""
_LONGEST_S = 600.0
"""It takes some seconds for a head."""


def decimate(
    vertices: NDArray[np.float32], triangles: NDArray[np.int32], most: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return a mesh of about ``most`` triangles, by quadric errors (Garland and Heckbert, SIGGRAPH 1997).

    Args:
        vertices: float32 (n, 3), any unit.
        triangles: int32 (m, 3).
        most: how many triangles are wanted.

    Raises:
        ChildProcessError: the child process was killed, as by a system that is short of memory, or hangs.
        RuntimeError: it failed otherwise.
    """
    child = [sys.executable, "-m", "sbnode.results.decimation"]
    mesh = _packed(vertices, triangles, np.int64(most))
    try:
        done = subprocess.run(child, input=mesh, stdout=subprocess.PIPE, timeout=_LONGEST_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ChildProcessError(f"the decimation of the surface took more than {_LONGEST_S:.0f} s") from error
    if done.returncode < 0:
        raise ChildProcessError(f"the decimation of the surface was killed by signal {-done.returncode}")
    if done.returncode:
        raise RuntimeError(f"the decimation of the surface ended with {done.returncode}")
    fewer_vertices, fewer_triangles = _unpacked(done.stdout)
    return fewer_vertices.astype(np.float32), fewer_triangles.astype(np.int32)


def _packed(*arrays: NDArray[Any] | np.int64) -> bytes:
    stream = BytesIO()
    for array in arrays:
        np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _unpacked(content: bytes) -> list[NDArray[Any]]:
    stream, arrays = BytesIO(content), []
    while stream.tell() < len(content):
        arrays.append(np.load(stream, allow_pickle=False))
    return arrays


def _main() -> None:
    import fast_simplification

    vertices, triangles, most = _unpacked(sys.stdin.buffer.read())
    fewer = fast_simplification.simplify(vertices, triangles, target_count=int(most), agg=_AGGRESSIVENESS)
    sys.stdout.buffer.write(_packed(*fewer))


if __name__ == "__main__":
    _main()
