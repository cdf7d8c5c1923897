from __future__ import annotations

from pathlib import Path

import pytest

from tests.status.samples import Node, busy


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path, busy())
    made.make_result()
    return made
