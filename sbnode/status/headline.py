"""The node's state in one word, and what somebody should look at. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sbnode.status import words
from sbnode.status.overview import Overview, Queue

__all__ = ["Headline", "headline"]

_NEW_S = 86400.0
"""Dead letters of longer ago are listed, and call for nobody any more: what was looked at may be left."""
_ENDS_SOON_S = 14 * 86400.0
"""A certificate that ends within this time is told of."""


@dataclass(frozen=True, slots=True)
class Headline:
    """``state`` and a sentence for it; ``troubles`` are what needs attention, each with the part of the page."""

    state: Literal["idle", "working", "trouble"]
    text: str
    troubles: tuple[tuple[str, str], ...]


def headline(overview: Overview) -> Headline:
    """Say how the node is."""
    troubles = tuple(_troubles(overview))
    if troubles:
        return Headline("trouble", "Needs attention", troubles)
    busy = _busy(overview)
    return Headline("working" if busy else "idle", busy or "Idle: nothing to do", ())


def _busy(overview: Overview) -> str:
    receiving, queue = overview.receiving, overview.queue or Queue()
    if overview.running:
        return "Working"
    if receiving.associations or receiving.series:
        return "Receiving"
    return "Working" if any(line.depth for line in queue.lines) else ""


def _troubles(overview: Overview) -> Iterator[tuple[str, str]]:
    if overview.queue is None:
        yield (
            "queue",
            "The database of the queue doesn't answer. Reception goes on; nothing is processed until it does.",
        )
    if overview.worker_wanted and not overview.workers:
        yield "node", "No worker is ready: it is starting, or it died and is started again."
    yield from _disk(overview)
    if overview.queue is not None:
        yield from _queue(overview.queue, overview.at_s)
    for certificate in overview.certificates:
        left_s = certificate.ends_s - overview.at_s
        if left_s < 0:
            yield "node", f"The certificate shown to {words.certificate(certificate.shown_to)} has ended."
        elif left_s < _ENDS_SOON_S:
            yield (
                "node",
                f"The certificate shown to {words.certificate(certificate.shown_to)} ends in {words.age(left_s)}.",
            )


def _disk(overview: Overview) -> Iterator[tuple[str, str]]:
    disk = overview.disk
    if disk.free_bytes < disk.pause_free_bytes:
        yield "node", f"Only {words.size(disk.free_bytes)} are free in the spool: no job is begun."
    elif disk.free_bytes < disk.min_free_bytes:
        yield "node", f"Only {words.size(disk.free_bytes)} are free in the spool: new instances are refused."


def _queue(queue: Queue, now_s: float) -> Iterator[tuple[str, str]]:
    dead = sum(fault.state == "dead letter" and now_s - fault.at_s < _NEW_S for fault in queue.faults)
    if dead:
        yield "faults", "1 new dead letter." if dead == 1 else f"{dead} new dead letters."
    for destination in queue.destinations:
        if destination.state == "fails":
            yield "destinations", f"Destination {destination.name} doesn't take what it is sent."
