"""docs/tutorial.md names what there is. It is followed as a whole by `make viewer`."""

from __future__ import annotations

import re

import pytest

from sbnode.config import load_config
from tests.conftest import REPOSITORY

PAGES = ("docs/tutorial.md", "docs/for-clinicians.md")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page: str) -> None:
    path = REPOSITORY / page
    links = re.findall(r"\]\(([^)#:]+)[^)]*\)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_files_of_the_tutorial_are_there() -> None:
    text = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:demo/hospital|scripts)/[\w./-]+\w", text))
    assert len(named) >= 5
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_the_node_of_the_tutorial_can_be_configured() -> None:
    config = load_config(REPOSITORY / "demo" / "hospital" / "config.yaml")
    assert config.model.occupancy.resolve() == REPOSITORY / "models" / "skullbase"
    assert config.receive.allowed.keys() == {"ARCHIVE"}
