"""The suites on simulated scans: which test objects there are, and how each is scanned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from benchmarks.accuracy import anatomy, catsim, chart, grammar
from benchmarks.accuracy.phantom import Phantom
from benchmarks.accuracy.scans import PROTOCOLS, Protocol, Scan, acquire

PIXELS_MM = ((0.3, 0.3), (0.4, 0.6), (0.5, 1.25), (0.5, 2.5))
FWHM_MM = (0.45, 0.7, 1.0)
NOISE_HU = (10.0, 40.0, 120.0, 250.0)
ANY = Protocol(name="any", label="0.3-0.5 mm, slices of 0.3-2.5 mm, FWHM 0.45-1.0 mm, noise 10-250 HU")
"""Stands for one of the settings of the chart, another for each object."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test object: where it belongs, what makes it and the seed that it comes from."""

    suite: str
    kind: str
    seed: int
    protocols: tuple[Protocol, ...] = PROTOCOLS

    def phantom(self) -> Phantom:
        """Build the object."""
        if self.suite == ANATOMY:
            random = np.random.default_rng((self.seed, sorted(anatomy.SITES_MM).index(self.kind), 3))
            wall_mm = None if random.uniform() < SOLID else float(random.uniform(*WALLS_MM))
            return anatomy.build(self.kind, meshes(), wall_mm, random)
        kinds = grammar.KINDS if self.suite == COMPOSITE else chart.KINDS
        return kinds[self.kind](np.random.default_rng((self.seed, sorted(kinds).index(self.kind))))

    def scans(self, phantom: Phantom) -> Iterator[tuple[str, Scan]]:
        """Its scans, each with the name of its protocol in the tables."""
        for index, named in enumerate(self.protocols):
            if self.suite == CATSIM:
                yield named.title, catsim.scan(phantom, self.seed)
            else:
                protocol = (
                    mixed_protocol(2 * self.seed + sorted(chart.KINDS).index(self.kind)) if named == ANY else named
                )
                own = crc32(f"{self.suite} {self.kind}".encode())
                yield named.title, acquire(phantom.hu, protocol, (self.seed, index, own))


CHART, COMPOSITE, ANATOMY = "S1 chart", "S2 composite", "S3 anatomy"
CATSIM = "S6 chart by CatSim"
SLABS = 3
"""Pairs of objects that go through CatSim: each takes about half a minute."""
SOLID = 0.3
"""Share of the pieces of anatomy that are solid; the others are walls of ..."""
WALLS_MM = (0.3, 1.0)


def mixed_protocol(number: int) -> Protocol:
    """One of the chart's 48 settings; of 16 in a row, no two share voxels and noise, and every level comes up."""
    pixel_mm, slice_mm = PIXELS_MM[number % 4]
    return Protocol(
        name=ANY.name,
        label=ANY.label,
        pixel_mm=pixel_mm,
        slice_mm=slice_mm,
        fwhm_mm=FWHM_MM[number % 3],
        noise_hu=NOISE_HU[(number // 4 + number) % 4],
    )


def cases(seed: int, repeats: int) -> list[Case]:
    """All test objects; the anatomy is left out where its meshes are not at hand."""
    found = []
    for number in range(seed, seed + repeats):
        found += [Case(suite=COMPOSITE, kind=kind, seed=number) for kind in grammar.KINDS]
        found += [Case(suite=CHART, kind=kind, seed=number, protocols=(*PROTOCOLS, ANY)) for kind in chart.KINDS]
    if meshes().is_dir():
        found += [Case(suite=ANATOMY, kind=kind, seed=seed + k) for k in range((repeats + 2) // 3) for kind in SITES]
    return found


def slabs(seed: int) -> list[Case]:
    """The objects of the chart that go through CatSim."""
    numbers = range(seed + SLABS_FROM, seed + SLABS_FROM + SLABS)
    return [
        Case(suite=CATSIM, kind=kind, seed=n, protocols=(catsim.PROTOCOL,)) for n in numbers for kind in chart.KINDS
    ]


SLABS_FROM = 500
"""So far from the other suites' seeds do theirs begin."""


SITES = tuple(anatomy.SITES_MM)


def meshes() -> Path:
    """Folder of the bone meshes, below SBNODE_DATA."""
    return Path(os.environ.get("SBNODE_DATA", "../shared/data")) / "skull-bones-bodyparts3d"
