"""Make the picture of docs/comparing.md from a report: ``python -m scripts.comparison_picture report.html``.

Needs Chromium. How the report was made stands below the picture.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page

from sbnode.comparison.pictures import ONLY_A, ONLY_B
from tests.integration.status_browser import chromium

WIDTH, HEIGHT = 780, 1000
"""Of the window: so narrow that the letters can be read where the manual is shown."""
MARGIN = 8
COLOURS = 256
"""What a PNG with a palette holds."""


def main() -> None:
    """Keep one place of the first study, and its skull base from above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="report.html, which `sbnode compare` wrote")
    parser.add_argument("--place", type=int, default=1, help="number of the place in the report")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/comparison.png"))
    options = parser.parse_args()
    with chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(options.report.resolve().as_uri())
        study = page.locator("section.study").first
        place = study.locator(".place").nth(options.place - 1)
        whole = study.locator("h3", has_text="Seen as a whole")
        above = study.locator("figure", has_text="difference, from above")
        parts = (_shown(page, place, place), _shown(page, whole, above))
    picture = Image.new("RGB", (WIDTH, sum(part.height for part in parts)))
    picture.paste(parts[0])
    picture.paste(parts[1], (0, parts[0].height))
    _few_colours(picture).save(options.out, optimize=True)


def _few_colours(picture: Image.Image) -> Image.Image:
    """Return ``picture`` with a palette that has the colours of the legend: too few pixels have them to be chosen."""
    found = picture.quantize(COLOURS - 2).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*found[: 3 * (COLOURS - 2)], *ONLY_A, *ONLY_B])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def _shown(page: Page, first: Locator, last: Locator) -> Image.Image:
    """Return the page from the top of ``first`` to the bottom of ``last``."""
    begin, end = first.bounding_box(), last.bounding_box()
    if begin is None or end is None:
        raise SystemExit("the report doesn't show it; is there such a place?")
    top = begin["y"] - MARGIN
    height = end["y"] + end["height"] + MARGIN - top
    shot = page.screenshot(full_page=True, clip={"x": 0, "y": top, "width": WIDTH, "height": height})
    return Image.open(BytesIO(shot)).convert("RGB")


if __name__ == "__main__":
    main()
