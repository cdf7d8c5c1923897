"""Rules: values are compared by their value representation, and the first rule that fits a series counts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from sbnode.config import Rule
from sbnode.matching import Matcher, values_of
from sbnode.rules import Decision, decide
from tests.scp.instances import ct_slice


def header() -> Dataset:
    """A slice with a value of each sort; what it has of a person is a canary."""
    made = ct_slice()
    made.StudyDescription = "Head Trauma "
    made.BodyPartExamined = "SKULL"
    made.PatientAge = "006M"
    made.AcquisitionDate = "20260102"
    made.ContrastBolusAgent = ""
    made.ConvolutionKernel = ["H60s", "3"]
    made.KVP = "120.0"
    made.ProcedureCodeSequence = [Dataset()]
    return made


def fits(when: dict[str, object]) -> bool:
    return decide(header(), [Rule(name="r", when=when)], "CT_ER")[0].rule == "r"


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, True),
        ({"CallingAETitle": "CT_ER"}, True),
        ({"CallingAETitle": " CT_ER "}, True),
        ({"CallingAETitle": "CT"}, False),
        ({"StudyDescription": "Head Trauma"}, True),
        ({"StudyDescription": "head trauma"}, False),
        ({"StudyDescription": {"regex": "(?i)trauma"}}, True),
        ({"StudyDescription": {"regex": "trauma"}}, False),
        ({"BodyPartExamined": {"one_of": ["HEAD", "SKULL"]}}, True),
        ({"BodyPartExamined": {"one_of": ["HEAD"]}}, False),
        ({"SliceThickness": 1}, True),
        ({"SliceThickness": {"max": 1.5}}, True),
        ({"SliceThickness": {"min": 0.5, "max": 0.9}}, False),
        ({"SliceThickness": {"one_of": [0.5, 1.0]}}, True),
        ({"KVP": {"equals": 120, "min": 100}}, True),
        ({"KVP": {"equals": 120, "min": 121}}, False),
        ({"PatientAge": {"max": 1}}, True),
        ({"PatientAge": {"min": 1}}, False),
        ({"ConvolutionKernel": "3"}, True),
        ({"ImageType": "AXIAL"}, True),
        ({"ImageType": {"one_of": ["LOCALIZER"]}}, False),
        ({"ImagePositionPatient": {"max": -15}}, True),
        ({"ContrastBolusAgent": {"exists": False}}, True),
        ({"ContrastBolusAgent": {"exists": True}}, False),
        ({"ContrastBolusAgent": {"regex": ""}}, False),
        ({"ProcedureCodeSequence": {"exists": True}}, True),
        ({"StudyDescription": {"regex": "Head"}, "BodyPartExamined": "HEAD"}, False),
    ],
)
def test_a_rule_fits_when_every_value_does(when: dict[str, object], expected: bool) -> None:
    assert fits(when) is expected


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"StudyDescripton": "x"}, "did you mean 'StudyDescription'"),
        ({"BodyPartExamined": {}}, "names no condition"),
        ({"BodyPartExamined": {"equals": None}}, "names no condition"),
        ({"BodyPartExamined": {"like": "x"}}, "Extra inputs"),
        ({"BodyPartExamined": False}, "put the text in quotes"),
        ({"LossyImageCompression": 1}, "put the value in quotes"),
        ({"SliceThickness": "1"}, "leave the quotes out"),
        ({"SliceThickness": {"regex": "1"}}, "regex needs a text"),
        ({"StudyDescription": {"min": 3}}, "min and max need a number"),
        ({"StudyDescription": {"regex": "("}}, "not a regular expression"),
        ({"PixelData": "x"}, "only exists can be asked"),
    ],
)
def test_what_can_t_be_compared_is_refused(when: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Rule(name="r", when=when)


def test_the_first_rule_that_fits_counts_and_the_others_before_it_say_why_they_don_t() -> None:
    rules = [
        Rule(name="no", when={"SliceThickness": {"max": 0.5}}),
        Rule(name="yes", when={"Modality": "CT"}, priority="high", destinations=("a",), region="all_bone"),
        Rule(name="later", take=False),
    ]
    decision, trials = decide(header(), rules, "")
    assert decision == Decision(rule="yes", priority="high", destinations=("a",), region="all_bone")
    assert [trial.rule.name for trial in trials] == ["no", "yes"]
    miss = trials[0].miss
    assert miss is not None
    assert (miss.keyword, miss.found, miss.wanted) == ("SliceThickness", (1.0,), "at most 0.5")
    assert trials[1].miss is None


def test_without_a_rule_that_fits_all_is_as_without_rules() -> None:
    assert decide(header(), [Rule(name="no", when={"Modality": "MR"})], "")[0] == Decision()


def test_of_an_enhanced_image_the_first_frame_s_values_count() -> None:
    measures, frame, enhanced = Dataset(), Dataset(), Dataset()
    measures.SliceThickness = 0.6
    frame.PixelMeasuresSequence = [measures]
    enhanced.SharedFunctionalGroupsSequence = [frame]
    assert values_of(enhanced, "SliceThickness", "") == (0.6,)
    assert values_of(enhanced, "KVP", "") == ()


def test_a_value_that_breaks_its_representation_is_no_value() -> None:
    broken = Dataset()
    broken._dict[Tag("SliceThickness")] = RawDataElement(Tag("SliceThickness"), "DS", 4, b"thin", 0, False, True)
    broken.add(DataElement("PatientAge", "AS", "old", validation_mode=0))
    for keyword in ("SliceThickness", "PatientAge"):
        assert not decide(broken, [Rule(name="r", when={keyword: {"min": 0}})], "")[0].rule
        assert decide(broken, [Rule(name="r", when={keyword: {"exists": False}})], "")[0].rule == "r"


def test_what_a_matcher_wants_is_said_in_words() -> None:
    assert Matcher(one_of=("A", "B")).failed(()) == "one of 'A', 'B'"
    assert Matcher(min=1, max=2).failed((3.0,)) == "at least 1 and at most 2"
    assert Matcher(exists=True).failed(()) == "a value"
    assert Matcher(equals="A").failed(("A",)) is None
