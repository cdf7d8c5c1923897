"""Make the pictures of docs/for-clinicians.md from a result: ``python -m scripts.clinician_pictures RESULTS``.

Those in the documentation are of the Visible Human Male (courtesy of the U.S. National Library of Medicine).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pydicom
from PIL import Image

WANTED = {"surface": "From above", "cut": "axial", "opening": "foramen ovale"}
"""Names of the pictures, and what the title of the page of the preview holds that each is made from."""
WIDTH = 900
COLOURS = 256
"""What a PNG with a palette holds."""


def main() -> None:
    """Keep three pages of a preview, small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="what `sbnode run FOLDER --out RESULTS` wrote")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    pages = [pydicom.dcmread(path) for path in sorted(options.results.glob("preview-*.dcm"))]
    for picture, words in WANTED.items():
        page = next(page for page in pages if words in page.DerivationDescription)
        image = Image.fromarray(page.pixel_array)
        image.thumbnail((WIDTH, WIDTH))
        image.quantize(COLOURS).save(options.out / f"clinician-{picture}.png", optimize=True)


if __name__ == "__main__":
    main()
