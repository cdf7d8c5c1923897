"""What a DICOM attribute must be like: the conditions of a rule, and whether a header meets them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator, model_validator

from sbnode.spelling import meant

# The configuration imports this module, and a configuration without rules does without pydicom.
if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["CALLING_AE_TITLE", "Keyword", "Matcher", "RegularExpression", "Value", "shown", "values_of"]

CALLING_AE_TITLE = "CallingAETitle"
"""Stands among the keywords for the sender (PS3.8 section 9.3.2), which no data set names."""

_NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_TEXTS = frozenset({"AE", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
_AGE = "AS"
_YEARS = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
"""How many of a unit of Age String make a year (PS3.5 section 6.2)."""

Value = str | float
_Condition = Callable[[Value], bool]


def _regular_expression(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    except RecursionError as error:
        raise ValueError("not a regular expression: it is nested too deep") from error
    return value


def _keyword(value: str) -> str:
    from pydicom.datadict import keyword_dict

    if value != CALLING_AE_TITLE and value not in keyword_dict:
        hint = meant(value, (CALLING_AE_TITLE, *keyword_dict))
        raise ValueError(f"'{value}' is not a keyword of the DICOM dictionary{hint}")
    return value


RegularExpression = Annotated[str, AfterValidator(_regular_expression)]
Keyword = Annotated[str, AfterValidator(_keyword)]
"""A keyword of PS3.6, or ``CALLING_AE_TITLE``."""


class Matcher(BaseModel):
    """Conditions on the values of one attribute. All must hold, each for any of the values where there are many.

    Numbers are compared as numbers, ages (AS) in years, everything else as text without the blanks at its ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    equals: Value | None = None
    one_of: tuple[Value, ...] | None = None
    regex: RegularExpression | None = None
    """Found somewhere in the text."""
    min: float | None = None
    max: float | None = None
    exists: bool | None = None
    """Whether there is a value at all."""

    @model_validator(mode="before")
    @classmethod
    def _plain_value(cls, content: object) -> object:
        """A plain value is short for ``equals``."""
        return content if isinstance(content, (dict, Matcher)) else {"equals": content}

    @field_validator("equals", "one_of", mode="before")
    @classmethod
    def _no_yes_or_no(cls, value: object) -> object:
        if any(isinstance(one, bool) for one in (value if isinstance(value, (list, tuple)) else (value,))):
            raise ValueError("YAML reads this as true or false: put the text in quotes")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Matcher:
        if not self.model_dump(exclude_none=True):
            raise ValueError("names no condition: give one of " + ", ".join(type(self).model_fields))
        return self

    def misfit(self, keyword: str) -> str | None:
        """Return why the attribute ``keyword`` can't be compared in this way, or None."""
        representation = _representation(keyword)
        wanted = (self.equals, *(self.one_of or ()))
        if representation not in _NUMBERS | _TEXTS | {_AGE} and set(self.model_dump(exclude_none=True)) != {"exists"}:
            return f"of value representation {representation}, only exists can be asked"
        if representation in _TEXTS:
            if self.min is not None or self.max is not None:
                return f"min and max need a number; this is {representation}"
            if any(isinstance(one, float) for one in wanted):
                return f"this is a text ({representation}): put the value in quotes"
        elif self.regex is not None:
            return f"regex needs a text; this is {representation}"
        elif any(isinstance(one, str) for one in wanted):
            return f"this is a number ({representation}): leave the quotes out"
        return None

    def failed(self, values: tuple[Value, ...]) -> str | None:
        """Return the first condition that ``values`` don't meet, in words, or None when all are met."""
        if self.exists is not None and self.exists != bool(values):
            return "a value" if self.exists else "no value"
        for wanted, is_met in self._conditions():
            if not any(is_met(value) for value in values):
                return wanted
        return None

    def _conditions(self) -> Iterator[tuple[str, _Condition]]:
        """Yield each condition in words, with what a value is asked."""
        if self.equals is not None:
            yield shown(self.equals), lambda value: value == _stripped(self.equals)
        if self.one_of is not None:
            wanted = {_stripped(one) for one in self.one_of}
            yield f"one of {', '.join(map(shown, self.one_of))}", lambda value: value in wanted
        if self.regex is not None:
            pattern = re.compile(self.regex)
            yield f"a text with /{self.regex}/", lambda value: isinstance(value, str) and bool(pattern.search(value))
        lowest, highest = self.min, self.max
        if lowest is not None or highest is not None:
            bounds = [f"at least {lowest:g}"] if lowest is not None else []
            bounds += [f"at most {highest:g}"] if highest is not None else []
            yield " and ".join(bounds), lambda value: _is_within(value, lowest, highest)


def values_of(header: Dataset, keyword: str, calling_ae_title: str) -> tuple[Value, ...]:
    """Return the values of an attribute, empty where it is missing, empty, or can't be read.

    What an enhanced image keeps in its functional groups (PS3.3 C.7.6.16) is that of its first frame.
    """
    if keyword == CALLING_AE_TITLE:
        return (calling_ae_title.strip(),) if calling_ae_title.strip() else ()
    representation = _representation(keyword)
    for source in _sources(header):
        found = source.get(keyword)
        if representation == "SQ" and found:
            return ("a sequence",)
        values = found if isinstance(found, Sequence) and not isinstance(found, str) else (found,)
        texts = [text for value in values if value is not None and (text := str(value).strip(" \0"))]
        if texts:
            return tuple(value for text in texts if (value := _value(text, representation)) is not None)
    return ()


def _sources(header: Dataset) -> Iterator[Dataset]:
    yield header
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for item in list(header.get(groups) or [])[:1]:
            for macro in item:
                if macro.VR == "SQ":
                    yield from list(macro.value)[:1]


def _value(text: str, representation: str) -> Value | None:
    """Return ``text`` as what it is compared as; None where it isn't what its value representation asks."""
    try:
        if representation == _AGE:
            return float(text[:-1]) / _YEARS[text[-1]]
        return float(text) if representation in _NUMBERS else text
    except (ValueError, KeyError):
        return None


def _representation(keyword: str) -> str:
    """Return the value representation of a keyword (PS3.6); of a choice, such as "US or SS", the first."""
    from pydicom.datadict import dictionary_VR

    return "AE" if keyword == CALLING_AE_TITLE else dictionary_VR(keyword).partition(" ")[0]


def _stripped(value: Value | None) -> Value | None:
    return value.strip() if isinstance(value, str) else value


def _is_within(value: Value, lowest: float | None, highest: float | None) -> bool:
    return isinstance(value, float) and (lowest is None or value >= lowest) and (highest is None or value <= highest)


def shown(value: Value) -> str:
    """Return a value as people write it."""
    return f"'{value}'" if isinstance(value, str) else f"{value:g}"
