"""From the series of a study to a folder of results: choose, read, find, estimate, cut, describe.

The steps run in order in one process, from files to files. This module knows neither the network nor the queue.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sbnode.config import Config
from sbnode.errors import NoSkullBase
from sbnode.inference import quality
from sbnode.inference.anatomy import named_bones
from sbnode.inference.bone import Bone, Finding, Foramen, NamedBone
from sbnode.inference.foramina import find_foramina
from sbnode.inference.geometry import Grid
from sbnode.inference.model import OccupancyModel
from sbnode.inference.quality import Quality
from sbnode.inference.region import RegionMap, RegionModel
from sbnode.inference.selection import Choice, choose
from sbnode.inference.skull_frame import find_frame
from sbnode.inference.threshold import adaptive_threshold
from sbnode.inference.volume import Volume, read_volume
from sbnode.results import (
    album,
    capture,
    encapsulated,
    fine,
    preview,
    segmentation,
    stl,
    structured_report,
    surface,
    viewer_check,
)
from sbnode.results.album import Page
from sbnode.results.identity import Derivation, ModelIdentity
from sbnode.results.panels import cuts, views
from sbnode.results.report import LeftOut, Report
from sbnode.series import Series

__all__ = ["PIPELINE_VERSION", "RESULT_FILES", "STAGES", "Models", "Outcome", "Progress", "job_key", "run"]

PIPELINE_VERSION = "6"
"""Raised when the same series, model and parameters would give another result: then a new job is made."""
PREVIEW_FILES = ("preview.dcm", *(f"preview-{number:02}.dcm" for number in range(2, 11)))
RESULT_FILES = ("seg.dcm", "stl.dcm", "sr.dcm", *PREVIEW_FILES, "surface.stl", "preview.png", "result.json")
"""What is always there. More pictures follow where openings were found, and what the configuration asks for."""
REGION_MARGIN_MM = 6.0
"""The fine grid reaches this far beyond the region, so that the local threshold sees its surroundings."""
WANTED = 0.25
"""The region ends at 0.5; occupancy is computed to here, so that the local threshold sees beyond the end."""
BONE_HU = 200
"""For region all_bone, the fine grid holds every voxel above this."""

STAGES = (
    "choose",
    "read",
    "region",
    "inference",
    "threshold",
    "quality",
    "foramina",
    "segmentation",
    "surface",
    "preview",
)
"""What a run goes through, in this order; ``with_fine`` adds one more."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Models:
    """The opened networks."""

    occupancy: OccupancyModel
    region: RegionModel

    @classmethod
    def open(cls, config: Config) -> Models:
        """Open the models that ``config`` names.

        Raises:
            ModelError: one is missing, altered, or not of the contract.
        """
        return cls(
            OccupancyModel.open(config.model.occupancy, config.execution),
            RegionModel.open(config.model.region, config.execution),
        )

    @property
    def identity(self) -> ModelIdentity:
        """What the results say about the occupancy model."""
        description = self.occupancy.description
        return ModelIdentity(
            name=description.name,
            version=description.version,
            sha256=description.sha256,
            licence=description.licence,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run made: the folder that holds ``RESULT_FILES``, and the report that is its ``result.json``."""

    folder: Path
    report: Report


@dataclass
class _Clock:
    """Times the stages of one run and tells how far it is."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        started = perf_counter()
        self.progress(name, 0.0)
        yield lambda share: self.progress(name, share)
        self.seconds[name] = perf_counter() - started
        self.progress(name, 1.0)


def job_key(series: Series, models: Models, config: Config) -> str:
    """Return what names the result of ``series``: 32 hexadecimal digits.

    Made of the Series Instance UID, the SOP Instance UIDs with what they say of patient and study, the models' hashes
    and every parameter that changes the result, so that a resend makes no new job and a late slice, a correction or
    another model does.
    """
    parameters = {
        "pipeline": PIPELINE_VERSION,
        "region": config.region,
        "selection": config.selection.model_dump(mode="json"),
        "threshold": config.threshold.model_dump(mode="json"),
        "tile": models.occupancy.tile.model_dump(mode="json"),
        "results": config.results.model_dump(mode="json"),
    }
    parts = (
        series.key.series_instance_uid,
        series.digest,
        models.occupancy.description.sha256,
        models.region.description.sha256,
        json.dumps(parameters, sort_keys=True),
    )
    return sha256("\n".join(parts).encode()).hexdigest()[:32]


def run(
    study: Sequence[Series],
    models: Models,
    config: Config,
    folder: Path,
    *,
    made_at: datetime,
    progress: Progress = lambda stage, share: None,
    with_fine: bool = False,
    show: Callable[[Bone, Volume], None] = lambda bone, volume: None,
) -> Outcome:
    """Process the best series of ``study`` and write ``RESULT_FILES`` into ``folder``, and ``fine.dcm`` if configured.

    Args:
        study: the series of one study.
        models: the opened networks.
        config: the configuration.
        folder: an existing folder.
        made_at: date and time that the result objects carry; the same one gives the same bytes.
        progress: called with a stage's name and the share of it that is done.
        with_fine: also write ``bone.seg.nrrd``, the bone on the fine grid.
        show: called with the bone, and the volume it was found in, before they are described.

    Raises:
        SeriesError: the study gives no result; the message holds the reason.
        ModelError: a network failed.
        UnsafeResult: an object would be filed wrongly, or viewers would show the segmentation wrongly.
    """
    clock = _Clock(progress)
    with clock.stage("choose"):
        choice = choose(study, config.selection)
    key = job_key(choice.chosen, models, config)
    with clock.stage("read") as tell:
        volume = read_volume(choice.chosen, config.selection, tell)
    region = _find_region(volume, models, config, clock)
    bone = _find_bone(volume, region, models, config, clock)
    with clock.stage("quality"):
        measured = quality.measure(volume)
        flags = quality.flags(measured, volume, bone, whole=config.region == "all_bone")
        bones = () if region is None else named_bones(bone, region)
    with clock.stage("foramina"):
        foramina = () if region is None else _find_foramina(bone, region, volume, measured)
    show(bone, volume)
    derivation = Derivation(
        job_key=key,
        model=models.identity,
        region=config.region,
        threshold=config.threshold,
        settings=config.results,
        made_at=made_at,
    )
    seg, document = _describe(bone, volume, derivation, flags, foramina, folder, clock)
    if with_fine:
        with clock.stage("fine"):
            fine.write_nrrd(bone, folder / "bone.seg.nrrd", config.region)
    report = _report(choice, volume, bone, bones, foramina, measured, flags, models, config, clock.seconds, key)
    structured_report.build(report, seg, document, volume, derivation).save_as(
        folder / "sr.dcm", enforce_file_format=True
    )
    for path in folder.glob("*.dcm"):
        viewer_check.require_filed_rightly(path, volume)
    (folder / "result.json").write_text(report.to_json(), encoding="utf-8")
    return Outcome(folder=folder, report=report)


def _find_region(volume: Volume, models: Models, config: Config, clock: _Clock) -> RegionMap | None:
    """Where the skull base is; None where all bone is wanted."""
    with clock.stage("region"):
        if config.region == "all_bone":
            return None
        region = models.region.locate(volume)
        if not region.found:
            raise NoSkullBase(f"the scan shows no skull base (confidence {region.confidence:.2f})")
        return region


def _find_bone(volume: Volume, region: RegionMap | None, models: Models, config: Config, clock: _Clock) -> Bone:
    spacing_mm = models.occupancy.description.input.spacing_mm
    with clock.stage("inference") as tell:
        if region is None:
            points_mm = _bone_points(volume)
        else:
            points_mm = region.grid.to_patient(np.argwhere(region.inside > 0.5).astype(np.float64))
        box = Grid.around(points_mm, volume.stack, spacing_mm=spacing_mm, margin_mm=REGION_MARGIN_MM)
        inside = None if region is None else region.sample(box)
        wanted = None if inside is None else inside > WANTED
        occupancy = models.occupancy.predict(volume, box, wanted, tell)
    with clock.stage("threshold"):
        bone = adaptive_threshold(occupancy, config.threshold)
        return bone if inside is None else bone.within(inside)


def _find_foramina(bone: Bone, region: RegionMap, volume: Volume, measured: Quality) -> tuple[Foramen, ...]:
    frame = find_frame(bone, region)
    return () if frame is None else find_foramina(bone, frame, volume, measured)


def _describe(
    bone: Bone,
    volume: Volume,
    derivation: Derivation,
    flags: tuple[Finding, ...],
    foramina: tuple[Foramen, ...],
    folder: Path,
    clock: _Clock,
) -> tuple[Dataset, Dataset]:
    """Write the result objects of ``bone`` into ``folder``. Returns the segmentation and the encapsulated surface."""
    with clock.stage("segmentation"):
        seg = segmentation.build(bone, volume, derivation)
        seg.save_as(folder / "seg.dcm", enforce_file_format=True)
        viewer_check.require_viewable(folder / "seg.dcm", volume)
        if derivation.settings.fine:
            fine_seg = segmentation.build_fine(bone, volume, derivation)
            fine_seg.save_as(folder / "fine.dcm", enforce_file_format=True)
        if derivation.settings.label_map:
            label_map = segmentation.build_label_map(bone, volume, derivation)
            label_map.save_as(folder / "labelmap.dcm", enforce_file_format=True)
    with clock.stage("surface"):
        stl_bytes = stl.to_bytes(surface.extract(bone, derivation.settings.triangles))
        (folder / "surface.stl").write_bytes(stl_bytes)
    with clock.stage("preview"):
        region = derivation.region
        panels = (*views(bone, region, foramina), *cuts(bone, volume, region))
        overview = preview.render(panels, bone, volume, flags, region, foramina)
        overview.save(folder / "preview.png")
        shown = (Page("Overview", np.asarray(overview)), *album.pages(panels, bone, volume, region, foramina))
        for number, page in enumerate(shown, start=1):
            name = "preview.dcm" if number == 1 else f"preview-{number:02}.dcm"
            capture.build(page, number, volume, derivation).save_as(folder / name, enforce_file_format=True)
        icon = preview.icon(bone, region)
        document = encapsulated.build(stl_bytes, volume, derivation, icon)
        document.save_as(folder / "stl.dcm", enforce_file_format=True)
    return seg, document


def _bone_points(volume: Volume) -> NDArray[np.float64]:
    """Patient coordinates of a sample of the voxels that are surely bone."""
    found = np.argwhere(volume.hu[:, ::4, ::4] > BONE_HU) * (1, 4, 4)
    if not len(found):
        raise NoSkullBase(f"no voxel exceeds {BONE_HU} HU: the scan shows no bone")
    return volume.stack.to_patient(found.astype(np.float64))


def _report(
    choice: Choice,
    volume: Volume,
    bone: Bone,
    bones: tuple[NamedBone, ...],
    foramina: tuple[Foramen, ...],
    measured: Quality,
    flags: tuple[Finding, ...],
    models: Models,
    config: Config,
    seconds: dict[str, float],
    key: str,
) -> Report:
    return Report(
        job_key=key,
        series_instance_uid=choice.chosen.key.series_instance_uid,
        why=choice.why,
        left_out=tuple(LeftOut(k.series_instance_uid, reason) for k, reason in choice.left_out),
        slices=len(volume.instances),
        region=config.region,
        findings=volume.findings,
        quality=measured,
        flags=flags,
        model=models.identity,
        provider=models.occupancy.provider,
        bones=bones,
        foramina=foramina,
        volume_ml=bone.volume_ml,
        inferred_share=bone.inferred_share,
        seconds=dict(seconds),
        peak_memory_bytes=_peak_memory_bytes(),
    )


def _peak_memory_bytes() -> int:
    """Largest resident memory of this process so far; Linux counts in KiB, macOS in bytes (getrusage(2))."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
