"""`python -m benchmarks.bundle FOLDER`: seconds, memory and size of the result objects of one scan.

The whole pipeline runs once; the objects' own stages and the peak of the process' memory are printed, as a table.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from benchmarks.region import series_in
from sbnode import pipeline
from sbnode.config import Config

STAGES = ("segmentation", "surface", "preview")
"""What makes objects out of the bone; the rest of the pipeline finds the bone."""


def main() -> None:
    """Print the table of one scan."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundle", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of one study")
    options = parser.parse_args()
    config = Config()
    models = pipeline.Models.open(config)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        started = perf_counter()
        report = pipeline.run(series_in(options.folder), models, config, out, made_at=datetime.now(UTC)).report
        seconds = perf_counter() - started
        sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(out.iterdir())}
    print(f"{options.folder.name}: {report.slices} slices, {report.volume_ml:.0f} mL of bone\n")
    print("| what | |\n|---|---|")
    for stage in STAGES:
        print(f"| {stage} | {report.seconds[stage]:.1f} s |")
    rest = seconds - sum(report.seconds.values())
    print(f"| report and last look at all objects | {rest:.1f} s |")
    print(f"| all objects | {rest + sum(report.seconds[stage] for stage in STAGES):.1f} s |")
    print(f"| whole job | {seconds:.1f} s |")
    print(f"| peak memory of the job | {report.peak_memory_bytes / 2**30:.2f} GiB |")
    for name in ("seg.dcm", "stl.dcm", "sr.dcm"):
        print(f"| {name} | {sizes[name]:.1f} MB |")
    pictures = [size for name, size in sizes.items() if name.startswith("preview") and name.endswith(".dcm")]
    print(f"| preview, {len(pictures)} pictures | {sum(pictures):.1f} MB |")


if __name__ == "__main__":
    main()
