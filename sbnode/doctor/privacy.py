"""What may leave the hospital: the configuration and texts, without secrets and without what names a person.

Allowed are numbers, switches, words of a fixed list, hosts, ports, AE titles, paths and what else is named here. All
other text is left out, that of keys which nobody has thought of yet included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel

from sbnode.config import Config
from sbnode.log import without_uids

__all__ = ["LEFT_OUT", "public_configuration", "public_records", "public_text"]

LEFT_OUT = "(left out)"
_KEPT = frozenset(
    {
        *("ae_title", "calling_ae_title", "calling_ae_titles", "certificate_name", "destinations", "host", "name"),
        *("exclude_description", "low_priority_hours", "sharp_kernel", "worker"),
    }
)
"""Keys whose text says nothing of a person."""
_OF_THE_SCAN = frozenset(
    {
        *("BodyPartExamined", "CallingAETitle", "Columns", "ConvolutionKernel", "ImageType", "KVP", "Manufacturer"),
        *("ManufacturerModelName", "Modality", "ProtocolName", "Rows", "SeriesDescription", "SeriesNumber"),
        *("SliceThickness", "SoftwareVersions", "StationName", "StudyDescription"),
    }
)
"""Keywords of rules whose conditions are kept; others may name a patient, a physician or a number of theirs."""
_OF_A_RECORD = frozenset({"action", "level", "timestamp"})
"""What each record of the node's log has (sbnode.log)."""


def public_configuration(config: Config) -> dict[str, Any]:
    """Return the configuration as plain values, with ``LEFT_OUT`` in place of what may not be shown."""
    return _section(config)


def public_text(text: str) -> str:
    """Return ``text`` with short hashes in place of DICOM UIDs and ``~`` in place of the user's own folder."""
    return _without_home(without_uids(text))


def public_records(lines: Sequence[str]) -> tuple[list[str], int]:
    """Return those lines that are records of the node's own log, and how many were none and are left out."""
    kept: list[str] = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.keys() >= _OF_A_RECORD:
            kept.append(public_text(json.dumps(record)))
    return kept, len(lines) - len(kept)


def _section(section: BaseModel) -> dict[str, Any]:
    fields = type(section).model_fields
    return {name: _value(name, getattr(section, name), fields[name].annotation) for name in fields}


def _value(name: str, value: Any, annotation: Any) -> Any:
    if isinstance(value, BaseModel):
        return _section(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, Path):
        return _without_home(str(value))
    if isinstance(value, Mapping):
        return {key: _condition(key, one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_value(name, one, annotation) for one in value]
    if name == "url":
        return _address(str(value))
    return value if name in _KEPT or value in _words(annotation) else LEFT_OUT


def _condition(keyword: str, matcher: Any) -> Any:
    if keyword not in _OF_THE_SCAN:
        return LEFT_OUT
    return matcher.model_dump(exclude_none=True) if isinstance(matcher, BaseModel) else matcher


def _words(annotation: Any) -> frozenset[str]:
    """The words of the fixed lists in ``annotation``."""
    if get_origin(annotation) is Literal:
        return frozenset(map(str, get_args(annotation)))
    return frozenset(word for part in get_args(annotation) for word in _words(part))


def _address(url: str) -> str:
    """Scheme, host and port; user, path and query may hold a secret."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def _without_home(text: str) -> str:
    home = str(Path.home())
    return text if home == "/" else text.replace(home, "~")
