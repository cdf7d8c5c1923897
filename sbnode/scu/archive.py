"""Asking archives what they hold (C-FIND) and having them send it (C-MOVE), in the Study Root model (PS3.4 annex C)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from sbnode.config import Archive, Config, Peer
from sbnode.errors import DestinationUnavailable
from sbnode.log import fault, get_logger, short_hash
from sbnode.scu.association import association
from sbnode.series import SeriesKey

__all__ = ["Archives", "held"]

_PENDING = (0xFF00, 0xFF01)
_DONE_WITH_FAILURES = 0xB000
_REMEMBERED_S = 10.0
"""An archive that sends every instance on an association of its own isn't asked after each of them."""
_LEFT_ALONE_S = 300.0
"""An archive that couldn't be asked isn't asked again for so long."""
_MOVE_S = 600.0
"""An archive may answer C-MOVE once, after the last instance (PS3.4 C.4.2.3)."""

Answer = TypeVar("Answer")


def held(series: SeriesKey, peer: Peer, calling_ae_title: str) -> frozenset[str]:
    """Return the SOP Instance UIDs that ``peer`` has of a series.

    Raises:
        DestinationUnavailable: no connection, no answer in time, or a failure.
        DestinationRefused: it answers no queries.
    """
    query = _query("IMAGE", series)
    query.SOPInstanceUID = ""
    return frozenset(str(match.get("SOPInstanceUID")) for match in _find(query, peer, calling_ae_title))


class Archives:
    """The archives that studies come from. Whatever one of them does, no more happens than that it isn't asked.

    Args:
        archives: asked one after the other, until one knows the series.
        ae_title: the node's own, where instances are sent to.
    """

    def __init__(self, archives: Sequence[Archive], ae_title: str) -> None:
        self._archives: Sequence[Archive] = archives
        self._ae_title = ae_title
        self._counts: dict[SeriesKey, tuple[float, int | None]] = {}
        self._silent_until_s: dict[str, float] = {}
        self._moving = threading.Lock()

    def use(self, config: Config) -> None:
        """Ask the archives of ``config`` from now on, those too that weren't asked for a while."""
        self._archives, self._silent_until_s = config.archives, {}

    def expected_count(self, series: SeriesKey) -> int | None:
        """Return how many instances the series has, or None when no archive says so."""
        now_s = time.monotonic()
        self._counts = {key: entry for key, entry in self._counts.items() if now_s - entry[0] < _REMEMBERED_S}
        if series not in self._counts:
            counts = (self._count(series, archive) for archive in self._archives)
            found = next((count for count in counts if count), None)
            self._counts[series] = (time.monotonic(), found)
        return self._counts[series][1]

    def retrieve(self, series: SeriesKey) -> bool:
        """Have the archives send the series to this node again, one series at a time and without waiting for it.

        Returns:
            Whether there is one to ask.
        """
        asked = [archive for archive in self._archives if archive.retrieve]
        if asked:
            threading.Thread(target=self._retrieve, args=(series, asked), name="retrieval", daemon=True).start()
        return bool(asked)

    def _retrieve(self, series: SeriesKey, archives: Sequence[Archive]) -> None:
        with self._moving:
            for archive in archives:
                if self._asked(archive, partial(self._move, series, archive)):
                    return

    def _count(self, series: SeriesKey, archive: Archive) -> int | None:
        return self._asked(archive, partial(self._counted, series, archive))

    def _asked(self, archive: Archive, question: Callable[[], Answer]) -> Answer | None:
        """Return an archive's answer, or None from one that can't be asked; that one is left alone for a while."""
        if time.monotonic() < self._silent_until_s.get(archive.name, 0.0):
            return None
        try:
            return question()
        except Exception as error:
            # The boundary to another system: neither its fault nor that of its certificates may stop completion.
            self._silent_until_s[archive.name] = time.monotonic() + _LEFT_ALONE_S
            get_logger().warning("archive_not_asked", archive=archive.name, **fault(error))
            return None

    def _counted(self, series: SeriesKey, archive: Archive) -> int | None:
        query = _query("SERIES", series)
        query.NumberOfSeriesRelatedInstances = None
        matches = list(_find(query, archive, self._calling(archive)))
        if not matches:
            return None
        # Optional for the archive (PS3.4 table C.6-3); where it is missing, the instances are counted.
        count = matches[0].get("NumberOfSeriesRelatedInstances")
        return int(count) if count else len(held(series, archive, self._calling(archive)))

    def _move(self, series: SeriesKey, archive: Archive) -> bool:
        context = build_context(StudyRootQueryRetrieveInformationModelMove)
        with association(archive, [context], self._calling(archive), answer_s=_MOVE_S) as established:
            answers = list(established.send_c_move(_query("SERIES", series), self._ae_title, _MOVE))
        status = answers[-1][0].get("Status") if answers else None
        done = status in (0x0000, _DONE_WITH_FAILURES)
        get_logger().info(
            "retrieved" if done else "retrieval_failed",
            archive=archive.name,
            series=short_hash(series.series_instance_uid),
            status=_words(status),
        )
        return done

    def _calling(self, archive: Archive) -> str:
        return archive.calling_ae_title or self._ae_title


_FIND, _MOVE = StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove


def _query(level: str, series: SeriesKey) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    query.StudyInstanceUID, query.SeriesInstanceUID = series.study_instance_uid, series.series_instance_uid
    return query


def _find(query: Dataset, peer: Peer, calling_ae_title: str) -> Iterator[Dataset]:
    with association(peer, [build_context(_FIND)], calling_ae_title) as established:
        for answer, match in established.send_c_find(query, _FIND):
            status = answer.get("Status")
            if status in _PENDING and match is not None:
                yield match
            elif status != 0x0000:
                raise DestinationUnavailable(f"'{peer.name}' answered {_words(status)} to C-FIND")


def _words(status: int | None) -> str:
    return "nothing" if status is None else f"0x{status:04X}"
