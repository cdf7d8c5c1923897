"""Running two configurations on the same studies, one after the other, and comparing what they make."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from sbnode import pipeline
from sbnode.comparison.case import Agreement, Case, Place, Refusal
from sbnode.comparison.distance import Surface, SurfaceDistance
from sbnode.comparison.overlap import Overlap, common_grid, on_grid
from sbnode.comparison.pictures import cuts, views
from sbnode.comparison.places import places
from sbnode.comparison.settings import Difference, ModelFacts, differences
from sbnode.comparison.topology import Topology
from sbnode.config import Config
from sbnode.errors import SbnodeError
from sbnode.inference.bone import Bone
from sbnode.inference.geometry import Grid
from sbnode.inference.volume import Volume, read_volume
from sbnode.log import without_uids
from sbnode.plan import judge, make_plan, settings_of
from sbnode.results.report import Report
from sbnode.series import Series

__all__ = ["Comparison", "compare"]

PLACES = 4
"""So many places of the largest differences are shown of each study."""

NEARBY_MM = 3.0
"""How far the surfaces are apart at a place is looked at within this distance of it."""

Tell = Callable[[str, str], None]
"""Told what is being done: with which study, and which step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Configurations A and B on the same studies."""

    made_at: datetime
    settings: tuple[Difference, ...]
    """Keys in which they differ."""
    models: tuple[tuple[ModelFacts, ...], tuple[ModelFacts, ...]]
    """Those of A and those of B: occupancy, region."""
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    """What one configuration made of a study; ``bone`` is where its bone is kept."""

    report: Report
    bone: Path
    grid: Grid
    frame_of_reference_uid: str

    def load(self) -> Bone:
        with np.load(self.bone) as kept:
            level = kept["level"]
            inferred = np.unpackbits(kept["inferred"], count=level.size).reshape(level.shape).astype(np.bool_)
        nothing = np.zeros(level.shape, np.bool_)
        return Bone(grid=self.grid, level=level, inferred=inferred, canal=nothing, plate=nothing)


def compare(
    studies: Mapping[str, Sequence[Series]],
    a: Config,
    b: Config,
    folder: Path,
    *,
    made_at: datetime,
    tell: Tell = lambda label, step: None,
) -> Comparison:
    """Run the whole pipeline with ``a`` on every study, then with ``b``, and compare the results.

    Each follows its own rules and selection. The results themselves, and what is kept meanwhile (five bytes for each
    cell of the fine grid), lie in a temporary folder.

    Args:
        studies: the series of each study, by its label.
        a: one configuration.
        b: the other one.
        folder: an existing folder, in which the temporary one is made.
        made_at: date and time that the comparison carries.
        tell: called with the label of a study and with each step.

    Raises:
        ModelError: a model can't be opened. What else one of them ends with is a `Refusal`.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".sbnode-") as work:
        made, models = [], []
        for name, config in (("A", a), ("B", b)):
            found, facts = _run_all(name, studies, config, Path(work), made_at, tell)
            made.append(found)
            models.append(facts)
        cases = [
            _case(label, study, made[0][label], made[1][label], a, lambda step, of=label: tell(of, step))  # type: ignore[misc]
            for label, study in studies.items()
        ]
    return Comparison(made_at=made_at, settings=differences(a, b), models=(models[0], models[1]), cases=tuple(cases))


def _run_all(
    name: str, studies: Mapping[str, Sequence[Series]], config: Config, work: Path, made_at: datetime, tell: Tell
) -> tuple[dict[str, _Made | Refusal], tuple[ModelFacts, ...]]:
    """Run one configuration on all studies. Its networks are gone from memory when this returns."""
    models = pipeline.Models.open(config)
    facts = (ModelFacts.of(models.occupancy.description), ModelFacts.of(models.region.description))
    made: dict[str, _Made | Refusal] = {}
    for number, (label, study) in enumerate(studies.items()):
        made[label] = _run(
            study,
            models,
            config,
            work / f"{name}-{number}.npz",
            made_at,
            lambda stage, share, of=label: tell(of, f"{name}: {stage}"),  # type: ignore[misc]
        )
        gc.collect()
    return made, facts


def _run(
    study: Sequence[Series],
    models: pipeline.Models,
    config: Config,
    file: Path,
    made_at: datetime,
    progress: pipeline.Progress,
) -> _Made | Refusal:
    kept: list[tuple[Grid, str]] = []

    def keep(bone: Bone, volume: Volume) -> None:
        with file.open("wb") as opened:
            np.savez(opened, level=bone.level, inferred=np.packbits(bone.inferred))
        kept.append((bone.grid, volume.instances[0].frame_of_reference_uid))

    with tempfile.TemporaryDirectory(dir=file.parent) as results:
        try:
            plan = make_plan(judge(study, config.rules), config)
            settings = settings_of(plan.decision, config)
            outcome = pipeline.run(
                plan.taken, models, settings, Path(results), made_at=made_at, progress=progress, show=keep
            )
        except SbnodeError as error:
            return Refusal(type(error).__name__, without_uids(str(error)))
    ((grid, frame),) = kept
    return _Made(outcome.report, file, grid, frame)


def _case(
    label: str,
    study: Sequence[Series],
    a: _Made | Refusal,
    b: _Made | Refusal,
    config: Config,
    tell: Callable[[str], None],
) -> Case:
    if isinstance(a, Refusal) or isinstance(b, Refusal):
        return Case(label=label, a=_said(a), b=_said(b))
    if a.frame_of_reference_uid != b.frame_of_reference_uid:
        apart = "A and B chose series with different Frames of Reference, so they can't be laid over each other."
        return Case(label=label, a=a.report, b=b.report, apart=apart)
    tell("comparing")
    series = next(one for one in study if one.key.series_instance_uid == a.report.series_instance_uid)
    agreement = _agreement(a, b, series, config, tell)
    for made in (a, b):
        made.bone.unlink()
    return Case(label=label, a=a.report, b=b.report, agreement=agreement)


def _said(made: _Made | Refusal) -> Report | Refusal:
    return made if isinstance(made, Refusal) else made.report


def _agreement(a: _Made, b: _Made, series: Series, config: Config, tell: Callable[[str], None]) -> Agreement:
    tell("pieces and tunnels")
    bone_a, bone_b = a.load(), b.load()
    topology = (Topology.of(bone_a.mask), Topology.of(bone_b.mask))
    grid = common_grid(bone_a.grid, bone_b.grid)
    bone_a, bone_b = on_grid(bone_a, grid), on_grid(bone_b, grid)
    tell("surface distance")
    distance, worst = _distance(bone_a, bone_b)
    tell("pictures")
    shown: tuple[Place, ...] = ()
    if worst:
        volume = read_volume(series, config.selection)
        shown = tuple(Place(at, apart_mm, *cuts(bone_a, bone_b, volume, np.array(at))) for at, apart_mm in worst)
        del volume
    return Agreement(
        overlap=Overlap.of(bone_a, bone_b),
        distance=distance,
        topology=topology,
        places=shown,
        views=views(bone_a, bone_b, a.report.region),
    )


def _distance(a: Bone, b: Bone) -> tuple[SurfaceDistance | None, list[tuple[tuple[float, float, float], float]]]:
    """Measure how far the surfaces are apart; None where one has none. Also where most, and how far nearby."""
    surface_a, surface_b = Surface.of(a), Surface.of(b)
    if not len(surface_a.points_mm) or not len(surface_b.points_mm):
        return None, []
    a_to_b, b_to_a = surface_a.away_mm(surface_b), surface_b.away_mm(surface_a)
    points = np.concatenate([surface_a.points_mm, surface_b.points_mm])
    away = np.concatenate([a_to_b, b_to_a])
    worst = [
        ((float(x), float(y), float(z)), float(away[np.linalg.norm(points - (x, y, z), axis=1) < NEARBY_MM].max()))
        for x, y, z in places(points, away, PLACES)
    ]
    return SurfaceDistance.of(a_to_b, b_to_a), worst
