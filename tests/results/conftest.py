from __future__ import annotations

import pytest

from tests.results.phantom import Scan, make_scan


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return make_scan(tmp_path_factory.mktemp("even"))


@pytest.fixture(scope="session")
def tilted_scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return make_scan(tmp_path_factory.mktemp("tilted"), tilt_degrees=-18.5)
