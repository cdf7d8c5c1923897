"""Telling people of new dead letters, and of destinations that deliver again. Nothing waits for it.

What was told, and what still has to be, stands in ``notices.json`` in the spool, so that a restart repeats nothing. A
notice that was sent in the moment of a crash may be sent twice; none is lost within a day.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

from sbnode import log
from sbnode.config import Config, Notify
from sbnode.errors import DestinationUnavailable
from sbnode.jobs.client import Item, JobClient
from sbnode.service.channels import post, send_mail
from sbnode.spool import Spool, durable

__all__ = ["Notices"]

_FILE = "notices.json"
_FIRST_RETRY_S = 30.0
_LONGEST_RETRY_S = 3600.0
_GIVEN_UP_AFTER_S = 24 * 3600.0
_LINES = 20
"""So many dead letters are named in one notice; the others are counted."""


@dataclass
class _State:
    """What is kept in the file."""

    told: dict[str, str] = field(default_factory=dict)
    """Dead letters that were told of or are about to be, by id, with the time when they became so."""
    down: dict[str, str] = field(default_factory=dict)
    """Destinations of which it was told that they are down, and since when."""
    dead: list[dict[str, str]] = field(default_factory=list)
    """Dead letters for the next notice."""
    recovered: list[str] = field(default_factory=list)
    last_s: float = 0.0
    """When the last notice was made, in seconds since 1970."""
    waiting: list[dict[str, Any]] = field(default_factory=list)
    """Notices on their way: channel, content, attempts, made_s, next_s."""


_KEPT = frozenset(entry.name for entry in fields(_State))


class Notices:
    """Looks for what is new, makes one notice of it at most every ``notify.every_s``, and sends it by each channel."""

    def __init__(self, config: Config, spool: Spool, queue: JobClient, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._path = spool.path / _FILE
        self._queue = queue
        self._clock = clock
        self._state = _read(self._path)

    def use(self, config: Config) -> None:
        """Work by ``config`` from now on."""
        self._config = config

    def turn(self, stopping: Callable[[], bool]) -> None:
        """Look, and send what is due."""
        config = self._config
        channels = _channels(config.notify)
        if not channels:
            return
        before = json.dumps(asdict(self._state))
        self._look()
        self._make(config, channels)
        if json.dumps(asdict(self._state)) != before:
            self._keep()
        for notice in list(self._state.waiting):
            if stopping():
                return
            if notice["next_s"] <= self._clock():
                self._send(notice, channels)
                self._keep()

    def _look(self) -> None:
        state = self._state
        items = {item.id: item for item in self._queue.dead_letters()}
        known = {item.id for item in items.values() if state.told.get(item.id) == item.updated_at.isoformat()}
        # What was dismissed or started again since calls for nobody, and needn't be told.
        state.dead = [facts for facts in state.dead if facts["id"] in known]
        state.dead += [_facts(item) for item in items.values() if item.id not in known]
        state.told = {item.id: item.updated_at.isoformat() for item in items.values()}
        self._look_at_destinations()

    def _look_at_destinations(self) -> None:
        state = self._state
        for destination, since in list(state.down.items()):
            if self._queue.delivers_since(destination, datetime.fromisoformat(since)):
                del state.down[destination]
                state.recovered.append(destination)

    def _make(self, config: Config, channels: dict[str, Any]) -> None:
        state, now_s = self._state, self._clock()
        if not (state.dead or state.recovered) or now_s - state.last_s < config.notify.every_s:
            return
        for facts in state.dead:
            if facts["reason"].startswith("given up after") and facts["destination"]:
                state.down[facts["destination"]] = state.told[facts["id"]]
        self._look_at_destinations()
        content = _content(config, state)
        for channel in channels:
            notice = {"channel": channel, "content": content, "attempts": 0, "made_s": now_s, "next_s": now_s}
            state.waiting.append(notice)
        state.dead, state.recovered, state.last_s = [], [], now_s

    def _send(self, notice: dict[str, Any], channels: dict[str, Callable[[dict[str, Any]], None]]) -> None:
        channel, now_s = notice["channel"], self._clock()
        logger = log.get_logger()
        if channel not in channels or now_s - notice["made_s"] > _GIVEN_UP_AFTER_S:
            logger.warning("notice_given_up", channel=channel, attempts=notice["attempts"])
            self._state.waiting.remove(notice)
            return
        try:
            channels[channel](notice["content"])
        except DestinationUnavailable as error:
            notice["attempts"] += 1
            notice["next_s"] = now_s + min(_FIRST_RETRY_S * 2.0 ** (notice["attempts"] - 1), _LONGEST_RETRY_S)
            logger.warning("notice_not_sent", channel=channel, attempts=notice["attempts"], reason=str(error))
        else:
            self._state.waiting.remove(notice)
            logger.info("notice_sent", channel=channel)

    def _keep(self) -> None:
        durable.write(self._path, json.dumps(asdict(self._state)))


def _channels(settings: Notify) -> dict[str, Callable[[dict[str, Any]], None]]:
    found: dict[str, Callable[[dict[str, Any]], None]] = {}
    webhook, mail = settings.webhook, settings.mail
    if webhook is not None:
        found["webhook"] = lambda content: post(webhook, content)
    if mail is not None:
        found["mail"] = lambda content: send_mail(mail, content["subject"], content["text"])
    return found


def _facts(item: Item) -> dict[str, str]:
    return {"id": item.id, "job": item.job, "destination": item.destination, "reason": log.without_uids(item.reason)}


def _content(config: Config, state: _State) -> dict[str, Any]:
    settings = config.notify
    named, more = state.dead[:_LINES], len(state.dead) - _LINES
    lines = [f"dead letter {one['id']}: {one['reason']}" for one in named]
    lines += [f"and {more} more dead letters"] if more > 0 else []
    lines += [f"destination {name} delivers again" for name in state.recovered]
    words = {
        "node": config.node.ae_title,
        "dead": len(state.dead),
        "recovered": len(state.recovered),
        "lines": "\n".join(lines),
        "link": settings.link or "",
    }
    return {
        "node": config.node.ae_title,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "dead": len(state.dead),
        "dead_letters": named,
        "recovered": list(state.recovered),
        "link": settings.link,
        "subject": Template(settings.subject).substitute(words),
        "text": Template(settings.text).substitute(words),
    }


def _read(path: Path) -> _State:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # What a later release wrote besides is left out.
        return _State(**{name: content[name] for name in _KEPT & content.keys()})
    except FileNotFoundError:
        return _State()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.get_logger().warning("notices_forgotten", **log.fault(error))
        return _State()
