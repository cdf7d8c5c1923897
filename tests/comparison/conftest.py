"""A block of bone in a small series, and networks whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from sbnode import pipeline
from sbnode.config import Config
from sbnode.inference.model import OccupancyModel
from sbnode.series import Series, read_instance
from simulator.dicom import axial_stack, write_series
from tests.inference.test_model import CPU, write_model
from tests.test_pipeline import Region

NAME = "CANARY^PATIENT"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Series]:
    """Makes series of one study: a cube of bone of 16 mm in the middle of air, 24 slices of 1 mm."""

    def make(name: str = "one", **attributes: Any) -> Series:
        stack = axial_stack((24, 48, 48), (1.0, 0.6, 0.6))
        hu = np.full(stack.shape, -1000, np.int16)
        hu[4:20, 11:37, 11:37] = 1000
        folder = tmp_path_factory.mktemp("series")
        paths = write_series(hu, stack, folder, series=name, **{"PatientName": NAME, **attributes})
        instances = [read_instance(path) for path in paths]
        return Series.of(instances[0].key, instances)

    return make


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every configuration opens these; a region model in a folder 'blind' finds nothing."""
    occupancy = OccupancyModel.open(write_model(tmp_path_factory.mktemp("models") / "model"), CPU)

    def opened(config: Config) -> pipeline.Models:
        region: Any = Region(occupancy.description, found=config.model.region.name != "blind")
        return pipeline.Models(occupancy, region)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.Models, "open", opened)
        yield
