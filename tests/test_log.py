"""What may reach a log, and what may not."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from sbnode import log
from sbnode.config import Log
from sbnode.errors import UnsafeGeometry

UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    root, show, hook = logging.root.handlers[:], warnings.showwarning, threading.excepthook
    dbos, pynetdicom = logging.getLogger("dbos"), logging.getLogger("pynetdicom")
    before = dbos.handlers[:], dbos.propagate, pynetdicom.level, logging.root.level
    log.configure(Log(level="debug"))
    yield
    structlog.reset_defaults()
    logging.root.handlers[:], warnings.showwarning, threading.excepthook = root, show, hook
    dbos.handlers[:], dbos.propagate = before[0], before[1]
    pynetdicom.setLevel(before[2])
    logging.root.setLevel(before[3])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_record_is_one_line_of_json_with_an_action(capsys: pytest.CaptureFixture[str]) -> None:
    log.get_logger().info("series_complete", instances=12)
    (record,) = lines(capsys)
    assert record["action"] == "series_complete"
    assert record["instances"] == 12
    assert record["level"] == "info"
    assert record["timestamp"].endswith("Z")


def test_a_uid_becomes_a_short_hash_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    log.get_logger().info("x", series=UID, reason=f"series {UID}: a gap of 12.5 mm at 127.0.0.1")
    (record,) = lines(capsys)
    assert record["series"] == f"uid:{log.short_hash(UID)}"
    assert record["reason"] == f"series uid:{log.short_hash(UID)}: a gap of 12.5 mm at 127.0.0.1"


def test_a_thread_that_fails_is_one_record_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback would quote the message, and the message what a peer sent."""

    def fail() -> None:
        raise KeyError("CANARY^PATIENT")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    (record,) = lines(capsys)
    assert (record["action"], record["error"]) == ("thread_failed", "KeyError")
    assert "CANARY" not in str(record)


def test_our_errors_speak_and_others_give_type_and_place_only() -> None:
    assert log.fault(UnsafeGeometry(f"a gap in {UID}"))["reason"] == f"a gap in uid:{log.short_hash(UID)}"
    try:
        int("CANARY^PATIENT")
    except ValueError as error:
        facts = log.fault(error)
    assert facts["error"] == "ValueError"
    assert facts["where"].startswith("test_log.py:")
    assert "CANARY" not in str(facts)


def test_libraries_don_t_quote_the_data_they_saw(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("pydicom").warning("Invalid value for VR PN: %s", "CANARY^PATIENT")
    logging.getLogger("pynetdicom.assoc").error("CANARY AE")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log.configure(Log(level="debug"))
        warnings.warn("Invalid value: CANARY^PATIENT", stacklevel=1)
    records = lines(capsys)
    assert [record["action"] for record in records] == ["library_message", "library_warning"]
    assert records[0]["library"] == "pydicom"
    assert "CANARY" not in str(records)


def test_the_queue_s_library_may_speak(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("dbos").warning("Contention detected")
    assert lines(capsys)[0]["message"] == "Contention detected"
    logging.getLogger("dbos").info("DBOS launched!")
    assert lines(capsys) == []


@pytest.mark.parametrize("uid", ["1.2.840.113619.2.55.3.12345", "2.25.100789786900725508814061137655637989886"])
@pytest.mark.parametrize("text", ["{}.dcm: can't be read", "of {}", "{}, again", "({})."])
def test_a_uid_is_found_in_file_names_and_sentences(uid: str, text: str) -> None:
    hidden = log.without_uids(text.format(uid))
    assert uid not in hidden
    assert log.short_hash(uid) in hidden
