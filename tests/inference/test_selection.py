"""Which series of a study is chosen, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sbnode.config import Selection
from sbnode.errors import NoUsableSeries, SeveralPatients
from sbnode.inference.selection import choose
from sbnode.series import Instance, Series, SeriesKey, read_instance

RULES = Selection()


def series(name: str, *, step_mm: float = 1.0, slices: int = 100, **facts: object) -> Series:
    first = Instance(
        path=Path("x.dcm"),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1",
        key=SeriesKey("1", name),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        convolution_kernel="H60s",
        body_part="HEAD",
        frame_of_reference_uid="1.9",
        rows=512,
        columns=512,
        pixel_spacing_mm=(0.5, 0.5),
        slice_thickness_mm=step_mm,
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    )
    first = replace(first, **facts)  # type: ignore[arg-type]
    instances = [
        replace(first, sop_instance_uid=f"{name}.{n}", position_mm=(0.0, 0.0, n * step_mm)) for n in range(slices)
    ]
    return Series.of(first.key, instances)


def chosen(*study: Series) -> str:
    return choose(study, RULES).chosen.key.series_instance_uid


def test_the_thin_sharp_series_wins_over_the_thick_soft_one() -> None:
    soft, bone = series("1.1", step_mm=5.0, convolution_kernel="H30s"), series("1.2", step_mm=0.6)
    choice = choose([soft, bone], RULES)
    assert choice.chosen is bone
    assert "sharp kernel H60s" in choice.why
    assert dict(choice.left_out)[soft.key].startswith("usable (100 axial slices, 5.00 mm")


@pytest.mark.parametrize("kernel", ["H30s", "B31s", "STANDARD", "FC21", "UB", "J30s", ""])
def test_soft_kernels_lose_to_a_bone_kernel(kernel: str) -> None:
    assert chosen(series("1.1", convolution_kernel=kernel), series("1.2", convolution_kernel="BONEPLUS")) == "1.2"


@pytest.mark.parametrize("kernel", ["H60s", "H70h", "B70f", "U75u", "J70h", "Hr68", "BONE", "EDGE", "FC81", "YB"])
def test_bone_kernels_win_over_a_soft_kernel(kernel: str) -> None:
    assert chosen(series("1.1", convolution_kernel="H30s"), series("1.2", convolution_kernel=kernel)) == "1.2"


def test_the_choice_does_not_depend_on_the_order_of_arrival() -> None:
    study = [series("1.3"), series("1.1"), series("1.2")]
    assert {chosen(*study), chosen(*study[::-1])} == {"1.1"}


def test_a_head_wins_over_a_thinner_chest() -> None:
    chest = series("1.1", step_mm=0.6, body_part="CHEST")
    assert chosen(chest, series("1.2", step_mm=1.0)) == "1.2"
    assert chosen(chest) == "1.1"


@pytest.mark.parametrize("part", ["CSPINE", "HEART", "CARDIAC", "LIVER"])
def test_other_parts_lose_to_a_thicker_head(part: str) -> None:
    assert chosen(series("1.1", step_mm=0.6, body_part=part), series("1.2", step_mm=1.0)) == "1.2"


@pytest.mark.parametrize("description", ["SINUS LOW DOSE 0.6 BONE", "Amiplan head", "HEAD 0.6 BONE"])
def test_descriptions_that_only_resemble_an_excluded_one_are_usable(description: str) -> None:
    assert chosen(series("1.1", series_description=description)) == "1.1"


def test_a_derived_series_that_is_a_true_axial_ct_is_usable() -> None:
    assert chosen(series("1.1", image_type=("DERIVED", "SECONDARY"))) == "1.1"


@pytest.mark.parametrize(
    ("unusable", "said"),
    [
        (series("1.1", modality="MR"), "modality is MR"),
        (series("1.1", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), "a localizer"),
        (series("1.1", slices=4), "4 slices; at least 16"),
        (series("1.1", slices=20), "19 mm long"),
        (series("1.1", step_mm=7.0), "7.00 mm apart"),
        (series("1.1", series_description="Sag MPR"), "description is excluded"),
        (series("1.1", orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0)), "lie at a position|not axial"),
    ],
)
def test_unusable_series_are_named_with_their_reason(unusable: Series, said: str) -> None:
    with pytest.raises(NoUsableSeries, match=said):
        choose([unusable], RULES)


def test_a_study_of_two_patients_is_refused_even_when_only_a_localizer_is_of_another() -> None:
    head = series("1.1", patient="a")
    localizer = series("1.2", slices=1, patient="b", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    with pytest.raises(SeveralPatients, match=r"2 different patients \(100 and 1 images\)"):
        choose([head, localizer], RULES)


def test_a_series_of_two_patients_is_refused() -> None:
    mixed = series("1.1", patient="a")
    last = replace(mixed.instances[-1], patient="b")
    with pytest.raises(SeveralPatients):
        choose([Series.of(mixed.key, (*mixed.instances[:-1], last))], RULES)


def test_an_empty_study_is_refused() -> None:
    with pytest.raises(NoUsableSeries, match="empty"):
        choose([], RULES)


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("gantrytilting/001", "4 slices"),
        ("notavolume/001", "4 slices"),
        ("slicecount/001", "modality is MR"),
        ("sliceincrement/001", "4 slices"),
        ("sliceincrement/002", "4 slices"),
        ("sliceorientation/001", "modality is MR"),
    ],
)
def test_real_fragments_are_refused(shared_data: Path, fragment: str, said: str) -> None:
    with pytest.raises(NoUsableSeries, match=said):
        choose(study_in(shared_data / "refusals" / fragment), RULES)


def test_the_coarse_tilted_ge_series_is_refused_with_its_step(shared_data: Path) -> None:
    with pytest.raises(NoUsableSeries, match=r"7\.00 mm apart"):
        choose(study_in(shared_data / "ge-hispeed-tilted"), RULES)


def test_the_axial_series_of_the_philips_study_is_chosen(shared_data: Path) -> None:
    choice = choose(study_in(shared_data / "philips-phantom-tilted"), RULES)
    assert len(choice.chosen.instances) == 54
    reasons = [reason for _, reason in choice.left_out]
    assert any("localizer" in reason for reason in reasons)
    assert any("lacks" in reason for reason in reasons)


def study_in(folder: Path) -> list[Series]:
    found: dict[SeriesKey, list[Instance]] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "DIRFILE":
            instance = read_instance(path)
            found.setdefault(instance.key, []).append(instance)
    return [Series.of(key, instances) for key, instances in found.items()]
