"""Work on many test objects, one process per core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def on_all_cores(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Return what ``work`` makes of each item, in their order. ``work`` may not stand in a ``__main__`` module."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    # Fresh processes: ONNX Runtime's threads don't survive a fork.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(work, items))
