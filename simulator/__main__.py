"""Write the CT of the simulated head as DICOM files: ``python -m simulator FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

from simulator.head import simulate_head, write_head


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files are written; made when missing")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{len(write_head(folder, simulate_head()))} slices in {folder}")


if __name__ == "__main__":
    main()
