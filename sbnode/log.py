"""Structured logs on standard error: one record per line, each with a fixed ``action``.

No patient data may reach a log. Three measures keep it out: a UID in any value becomes a short hash, an
exception of a library is named by its type and place and never by its message, and the libraries' own
messages are reduced to who said something and where. The only library whose words are kept is dbos, which
sees nothing but job keys.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import MutableMapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from sbnode.config import Log
from sbnode.errors import SbnodeError

__all__ = ["configure", "fault", "get_logger", "short_hash", "without_uids"]

_UID = re.compile(r"(?<![\d.])(?:2\.25\.\d+|[0-2](?:\.\d+){4,})(?!\d)")
_HASH_CHARACTERS = 12
_TRUSTED_LIBRARIES = ("dbos",)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

Record = MutableMapping[str, Any]


def short_hash(uid: str) -> str:
    """Return 12 hexadecimal characters of the SHA-256 of ``uid``: enough to follow one object in the logs."""
    return sha256(uid.encode()).hexdigest()[:_HASH_CHARACTERS]


def without_uids(text: str) -> str:
    """Return ``text`` with every DICOM UID replaced by ``uid:`` and its short hash."""
    return _UID.sub(lambda match: f"uid:{short_hash(match[0])}", text)


def get_logger() -> Any:
    """Return a logger. Its methods take the action, then facts as keyword arguments."""
    return structlog.get_logger()


def fault(error: BaseException) -> dict[str, str]:
    """Return what may be logged of ``error``: its type, its place, and its message when it is one of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    facts = {"error": type(error).__name__}
    if frames:
        facts["where"] = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
    if isinstance(error, SbnodeError):
        facts["reason"] = without_uids(str(error))
    return facts


def configure(settings: Log) -> None:
    """Set up the logs of this process, those of the libraries included."""
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(event_key="action", colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("action"),
            _hash_uids,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=lambda *_: structlog.WriteLogger(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=False,
    )
    _tame_libraries()


class _Stderr:
    """Standard error as it is at the moment of writing, flushed line by line."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _hash_uids(_: Any, __: str, record: Record) -> Record:
    for key, value in record.items():
        if isinstance(value, str):
            record[key] = without_uids(value)
    return record


class _LibraryHandler(logging.Handler):
    """Turns a library's record into one of ours without its text, unless the library is trusted."""

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, str] = {"library": record.name, "where": f"{record.module}:{record.lineno}"}
        if record.exc_info and record.exc_info[0] is not None:
            if issubclass(record.exc_info[0], SbnodeError):
                return  # ours: whoever raised it has logged it
            facts["error"] = record.exc_info[0].__name__
        if record.name.split(".")[0] in _TRUSTED_LIBRARIES:
            facts["message"] = record.getMessage()
        level = "error" if record.levelno >= logging.ERROR else "warning"
        getattr(get_logger(), level)("library_message", **facts)


def _tame_libraries() -> None:
    logging.root.handlers[:] = [_LibraryHandler()]
    logging.root.setLevel(logging.WARNING)
    for name in _TRUSTED_LIBRARIES:
        # A handler that is there already keeps dbos from adding its own.
        trusted = logging.getLogger(name)
        trusted.handlers[:] = [_LibraryHandler()]
        trusted.propagate = False
    # pynetdicom reports at level ERROR what it also returns as a status, which is logged by the caller.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    warnings.showwarning = _log_warning
    threading.excepthook = _log_thread


def _log_thread(arguments: threading.ExceptHookArgs) -> None:
    """Log what ended a thread. A traceback on standard error would quote the message, which may quote a peer."""
    if arguments.exc_value is not None:
        get_logger().error("thread_failed", **fault(arguments.exc_value))


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log where a warning came from; pydicom's quote the value of an element, so the text stays out."""
    get_logger().debug("library_warning", error=category.__name__, where=f"{Path(filename).name}:{lineno}")
