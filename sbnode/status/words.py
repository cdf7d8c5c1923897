"""How the page says things: lengths of time, moments, sizes, stages and queues in words."""

from __future__ import annotations

from datetime import datetime

__all__ = ["OBJECTS", "STAGES", "age", "certificate", "moment", "queue", "seconds", "size", "stage"]

STAGES = {
    "choose": "choosing the series",
    "read": "reading the slices",
    "region": "finding the skull base",
    "inference": "estimating the bone",
    "threshold": "cutting the bone out",
    "quality": "measuring blur and noise",
    "foramina": "finding the openings",
    "segmentation": "writing the Segmentation",
    "surface": "making the surface",
    "preview": "drawing the preview",
}
"""The stages of `sbnode.pipeline`."""

OBJECTS = {
    "seg": "Segmentation",
    "stl": "surface",
    "sr": "report",
    "preview": "preview",
    "fine": "fine Segmentation",
    "labelmap": "label map",
}

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def age(length_s: float) -> str:
    """Return a length of time to one unit: 45 s, 3 min, 2 h, 5 d."""
    for unit_s, unit in _UNITS:
        if length_s >= unit_s:
            return f"{int(length_s // unit_s)} {unit}"
    return f"{max(0, int(length_s))} s"


def seconds(length_s: float) -> str:
    """Return a length of time to the second: 45 s, 3 min 5 s."""
    whole = max(0, round(length_s))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def moment(at_s: float) -> str:
    """Return a moment in the node's local time, such as 28 Nov 2026, 12:54."""
    return f"{datetime.fromtimestamp(at_s).astimezone():%-d %b %Y, %H:%M}"


def size(count: float) -> str:
    """Return bytes in decimal units, as disks are sold: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def stage(name: str) -> str:
    """Return what a worker does in a stage."""
    return STAGES.get(name, name)


def certificate(shown_to: str) -> str:
    """Return who is shown a certificate, such as destination pacs."""
    kind, _, name = shown_to.partition(".")
    if shown_to == "node":
        return "senders"
    return "the syslog server" if kind == "audit" else f"{kind} {name}"


def queue(name: str) -> str:
    """Return what waits in a queue for what."""
    kind, _, destination = name.partition(".")
    words = {
        "study": "Studies: choosing a series",
        "inference": "Jobs: making results",
        "delivery": f"Sending to {destination}",
        "proof": f"Asking {destination} for proof",
    }
    return words.get(kind, name)
