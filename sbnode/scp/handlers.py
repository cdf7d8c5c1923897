"""What happens on each event of an association. The handlers of DIMSE requests return one status."""

from __future__ import annotations

import itertools
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary, WeakSet

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu_primitives import A_ASSOCIATE

from sbnode.audit import Participant
from sbnode.config import Config
from sbnode.errors import NotUnderstood, ReceiveError, SpoolError, StorageFull, WrongSopClass
from sbnode.log import fault, get_logger, short_hash
from sbnode.scp.admission import peer_address, rejection
from sbnode.scp.intake import Intake
from sbnode.scp.messages import MOST_MESSAGES, DataSet, DataTransfer
from sbnode.scp.observer import Observer
from sbnode.scp.watch import CompletionWatch
from sbnode.series import is_uid
from sbnode.spool import Commitments, Report, Request, Stored

__all__ = ["Handlers", "Store"]

Store = Callable[[str, str, str, str, bytes, str], Stored]
"""``Spool.store``."""
Limit = Literal["rejected_limit", "rejected_caller_limit"]

SUCCESS = 0x0000
UNEXPECTED = 0xC0FF
"""Error: Cannot Understand (PS3.4 table B.2-1), for a fault of the node itself; the sender keeps its copy."""

# A-ASSOCIATE-RJ (PS3.8 table 9-21): rejected-permanent, by the service-user, for this reason.
_CALLING_AE_TITLE_NOT_RECOGNIZED = (0x01, 0x01, 0x03)
_CALLED_AE_TITLE_NOT_RECOGNIZED = (0x01, 0x01, 0x07)
_REASONS = {"rejected_called_ae_title": _CALLED_AE_TITLE_NOT_RECOGNIZED}
"""Of an admission that failed; all else says that the title isn't recognized, and not what would have been."""
# Rejected-transient, by the service-provider: local-limit-exceeded.
_LOCAL_LIMIT_EXCEEDED = (0x02, 0x03, 0x02)

_UNRECOGNIZED_OPERATION = 0x0211
"""PS3.7 annex C.5."""
# Statuses of N-ACTION and N-EVENT-REPORT (PS3.7 annex C).
_NOT_AUTHORIZED, _INVALID_ARGUMENT, _PROCESSING_FAILURE = 0x0124, 0x0115, 0x0110

_LEAST_BYTES = 16_384
"""What an association must send within ``receive.network_timeout_s`` while a request isn't complete. A modem could."""


@dataclass(slots=True)
class _Pace:
    """How much came of a request since when."""

    since_s: float
    data_bytes: int = 0


class Handlers:
    """The handlers of all associations of one Receiver. They run in the associations' threads."""

    def __init__(
        self, config: Config, store: Store, commitments: Commitments, watch: CompletionWatch, observer: Observer
    ) -> None:
        self._config = config
        self._commitments = commitments
        self._store = store
        self._watch = watch
        self._observer = observer
        self._intake = Intake(config.receive.max_instance_bytes)
        self._numbers: WeakKeyDictionary[Association, int] = WeakKeyDictionary()
        self._next_number = itertools.count(1)
        self._associations: set[Association] = set()
        self._added: dict[Association, Counter[str]] = {}
        self._closed: WeakSet[Association] = WeakSet()
        self._paces: WeakKeyDictionary[Association, _Pace] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def use(self, config: Config) -> None:
        """Decide by ``config`` from now on."""
        self._config = config

    def callers(self) -> Counter[str]:
        """Return how many associations each calling AE title has open."""
        with self._lock:
            return Counter(_calling_ae_title(one) for one in self._associations if one.is_alive())

    def is_quiet(self, association: Association, seconds: float) -> bool:
        """Return whether nothing came on an association for so long, and nothing that came is being worked on."""
        connection = association.dul.socket
        pdus = getattr(connection and connection.socket, "pdus", None)
        quiet = pdus is not None and time.monotonic() - pdus.last_s >= seconds
        return quiet and not self._intake.holds(association)

    def bindings(self) -> list[EventHandlerType]:
        """Return each event with its handler, as ``AE.make_server`` takes them."""
        return [
            (evt.EVT_REQUESTED, self.on_requested),
            (evt.EVT_ACCEPTED, self.on_accepted),
            (evt.EVT_RELEASED, self.on_released),
            (evt.EVT_ABORTED, self.on_aborted),
            (evt.EVT_CONN_CLOSE, self.on_closed),
            (evt.EVT_PDU_RECV, self.on_pdu),
            (evt.EVT_DIMSE_RECV, self.on_message),
            (evt.EVT_C_ECHO, self.on_c_echo),
            (evt.EVT_C_STORE, self.on_c_store),
            (evt.EVT_N_ACTION, self.on_n_action),
            (evt.EVT_N_EVENT_REPORT, self.on_n_event_report),
        ]

    def on_requested(self, event: Event) -> None:
        """Reject who isn't allowed to send, and who calls for another Application Entity (PS3.8 section
        7.1.1).

        pynetdicom would accept the association after whatever is raised here: who can't be judged is rejected too, and
        who is rejected stays so when nobody can be told.
        """
        association, config = event.assoc, self._config
        try:
            request = cast(A_ASSOCIATE, association.requestor.primitive)
            called, calling = request.called_ae_title.strip(), request.calling_ae_title.strip()
            caller = _participant(association, calling)
            found = rejection(config, called, calling, caller.address, _certificate(association))
            limit = None if found is not None else self._full(association, calling, config)
        except Exception as error:
            _reject(association, _LOCAL_LIMIT_EXCEEDED)
            get_logger().error("association_not_judged", **fault(error))
            return
        try:
            if found is not None:
                self._observer.association(found, calling)
                self._observer.turned_away(caller)
            elif limit is not None:
                self._observer.association(limit, calling)
        finally:
            if found is not None:
                _reject(association, _REASONS.get(found, _CALLING_AE_TITLE_NOT_RECOGNIZED))
            elif limit is not None:
                _reject(association, _LOCAL_LIMIT_EXCEEDED)

    def on_accepted(self, event: Event) -> None:
        """Take note."""
        self._observer.association("accepted", _calling_ae_title(event.assoc))

    def on_released(self, event: Event) -> None:
        """A-RELEASE: the sender says that it is done (PS3.8 section 7.2)."""
        self._watch.ended(self._number(event.assoc), released=True)
        self._observer.association("released", _calling_ae_title(event.assoc))

    def on_aborted(self, event: Event) -> None:
        """A-ABORT or A-P-ABORT, by either side, or a broken connection (PS3.8 sections 7.3 and 7.4)."""
        self._watch.ended(self._number(event.assoc), released=False)
        self._observer.association("aborted", _calling_ae_title(event.assoc))

    def on_closed(self, event: Event) -> None:
        """The connection is closed: after a release, which was noted before, or without one."""
        self._closed.add(event.assoc)
        self._forget(event.assoc)
        if event.assoc.requestor.primitive is None:
            # Closed before any request, as probes do. Without this note, the thread that waits for the
            # request would stay until the ARTIM timer ends.
            event.assoc.dul.to_user_queue.put(cast(A_ASSOCIATE, None))

    def on_pdu(self, event: Event) -> None:
        """Count the fragments of data sets as they come, and abort who sends more than memory is meant
        for.
        """
        pdu = cast(object, event.pdu)
        if not isinstance(pdu, DataTransfer) or event.assoc not in self._associations:
            return
        data_bytes = pdu.data_bytes
        association = event.assoc
        if self._drips(association, data_bytes):
            get_logger().error("association_aborted", reason="a request that comes too slowly")
            association.abort(block=False)
            return
        within = self._intake.take(association, data_bytes)
        if within and association.dimse.msg_queue.qsize() <= MOST_MESSAGES:
            return
        if not association.is_aborted:
            get_logger().error("association_aborted", reason="more than receive.max_instance_bytes")
            self._observer.oversized(_calling_ae_title(association))
            association.abort(block=False)

    def _drips(self, association: Association, data_bytes: int) -> bool:
        """Whether a request takes long and comes in drips: it would hold a place for ever."""
        now_s = time.monotonic()
        with self._lock:
            pace = self._paces.setdefault(association, _Pace(now_s))
            pace.data_bytes += data_bytes
            if now_s - pace.since_s <= self._config.receive.network_timeout_s:
                return False
            self._paces[association] = _Pace(now_s)
            return pace.data_bytes < _LEAST_BYTES

    def on_message(self, event: Event) -> None:
        """Abort on a C-STORE request without a UID: pynetdicom would never answer it.

        On one that is too long, pynetdicom aborts.
        """
        with self._lock:
            self._paces.pop(event.assoc, None)
        if not isinstance(event.message, C_STORE_RQ):
            return
        if not event.message.command_set.get("AffectedSOPInstanceUID"):
            get_logger().error("association_aborted", reason="a C-STORE request without a SOP Instance UID")
            event.assoc.abort(block=False)

    def on_c_echo(self, _: Event) -> int:
        """Verification (PS3.7 section 9.1.5)."""
        return SUCCESS

    def on_c_store(self, event: Event) -> int:
        """Store one instance; Success only once it is durable (PS3.7 section 9.1.1, PS3.4 annex B)."""
        if not isinstance(event.request, C_STORE):
            return _UNRECOGNIZED_OPERATION  # pynetdicom asks here for every request in a context of a storage class
        started_s = time.perf_counter()
        status, new = self._status(event)
        length = len(cast(DataSet, event.request.DataSet).getbuffer())
        self._intake.give_back(event.assoc, length)
        if event.assoc in self._closed:  # while this one was being stored
            self._forget(event.assoc)
        seconds = time.perf_counter() - started_s
        self._observer.answered(_calling_ae_title(event.assoc), status, length, new, seconds)
        return status

    def on_n_action(self, event: Event) -> tuple[int, None]:
        """Storage Commitment: a sender asks for proof (PS3.4 J.3.2). It is reported on another association."""
        self._give_back(event.assoc, cast(N_ACTION, event.request).ActionInformation)
        calling_ae_title = _calling_ae_title(event.assoc)
        if calling_ae_title not in {archive.ae_title for archive in self._config.archives}:
            get_logger().warning(
                "commitment_refused",
                calling_ae_title=calling_ae_title,
                remedy="list this AE title under archives, so that the report finds it",
            )
            return _NOT_AUTHORIZED, None
        return self._noted(lambda: self._owe(event, calling_ae_title)), None

    def on_n_event_report(self, event: Event) -> tuple[int, None]:
        """Storage Commitment: an archive reports what this node asked it (PS3.4 J.3.3)."""
        self._give_back(event.assoc, cast(N_EVENT_REPORT, event.request).EventInformation)
        return self._noted(lambda: self._reported(event)), None

    def _give_back(self, association: Association, content: BytesIO | None) -> None:
        self._intake.give_back(association, 0 if content is None else len(content.getvalue()))

    def _owe(self, event: Event, calling_ae_title: str) -> int:
        self._commitments.owe(Request.of(event.action_information, calling_ae_title))
        return SUCCESS

    def _reported(self, event: Event) -> int:
        report = Report.of(event.event_information)
        if not self._commitments.asked(report.transaction_uid):
            return _INVALID_ARGUMENT
        self._commitments.report(report)
        return SUCCESS

    def _noted(self, note: Callable[[], int]) -> int:
        """Return the status of a note that was made; of one that can't be understood or kept, its failure."""
        try:
            return note()
        except (NotUnderstood, SpoolError) as error:
            get_logger().error("commitment_not_understood", **fault(error))
            return _INVALID_ARGUMENT
        except Exception as error:
            get_logger().error("commitment_not_kept", **fault(error))
            return _PROCESSING_FAILURE

    def _status(self, event: Event) -> tuple[int, bool]:
        sop_instance_uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
        try:
            stored = self._stored(event, sop_instance_uid)
        except ReceiveError as error:
            status: int = error.dimse_status
            _log_refusal(sop_instance_uid, status, error)
        except OSError as error:
            # The device failed: what a sender may try again is "Out of Resources".
            status = StorageFull.dimse_status
            _log_refusal(sop_instance_uid, status, error)
        except Exception as error:
            status = UNEXPECTED
            _log_refusal(sop_instance_uid, status, error)
        else:
            if stored.new:
                self._watch.received(self._number(event.assoc), stored.instance)
                self._count(event.assoc, stored)
            if stored.new and stored.instance.corrections:
                get_logger().info("instance_corrected", instance=short_hash(sop_instance_uid))
            if stored.late:
                get_logger().info("instance_superseded", instance=short_hash(sop_instance_uid))
            return SUCCESS, stored.new
        return status, False

    def _stored(self, event: Event, sop_instance_uid: str) -> Stored:
        sop_class_uid = str(event.request.AffectedSOPClassUID)
        if sop_class_uid != event.context.abstract_syntax:
            raise WrongSopClass("the C-STORE request is of another SOP Class than its Presentation Context")
        if not is_uid(sop_instance_uid):
            raise NotUnderstood("the Affected SOP Instance UID is not a UID")
        data_set = cast(DataSet, cast(C_STORE, event.request).DataSet)
        return self._store(
            sop_class_uid,
            sop_instance_uid,
            event.context.transfer_syntax,
            _calling_ae_title(event.assoc),
            data_set.getvalue(),
            data_set.sha256,
        )

    def _forget(self, association: Association) -> None:
        """Count off what a closed association held, and tell what it added."""
        self._intake.forget(association)
        with self._lock:
            added = self._added.pop(association, None)
        if added:
            self._observer.transferred(_participant(association, _calling_ae_title(association)), added)

    def _count(self, association: Association, stored: Stored) -> None:
        with self._lock:
            self._added.setdefault(association, Counter())[stored.key.study_instance_uid] += 1

    def _full(self, association: Association, calling: str, config: Config) -> Limit | None:
        """Count in an association, or return which limit is reached; silent connections take no place."""
        with self._lock:
            ended = [other for other in self._associations if not other.is_alive()]
        for other in ended:
            # Also those whose end pynetdicom didn't report, because the peer broke the protocol, and those that were
            # closed while an instance was being stored.
            self._forget(other)
        with self._lock:
            self._associations.difference_update(ended)
            if len(self._associations) >= config.receive.max_associations:
                return "rejected_limit"
            own = config.receive.allowed[calling].max_associations
            if own is not None and sum(_calling_ae_title(other) == calling for other in self._associations) >= own:
                return "rejected_caller_limit"
            self._associations.add(association)
            return None

    def _number(self, association: Association) -> int:
        with self._lock:
            return self._numbers.setdefault(association, next(self._next_number))


def _reject(association: Association, result_source_reason: tuple[int, int, int]) -> None:
    association.acse.send_reject(*result_source_reason)
    association.kill()


def _participant(association: Association, ae_title: str) -> Participant:
    return Participant(ae_title.strip(), peer_address(str(association.requestor.address or "")))


def _certificate(association: Association) -> Mapping[str, Any] | None:
    """What the client showed over TLS, verified; None without TLS or without a certificate."""
    wrapper = association.dul.socket
    connection = wrapper.socket if wrapper is not None else None
    return connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None


def _calling_ae_title(association: Association) -> str:
    return str(association.requestor.ae_title).strip()


def _log_refusal(sop_instance_uid: str, status: int, error: Exception) -> None:
    get_logger().error(
        "instance_refused", instance=short_hash(sop_instance_uid), status=f"0x{status:04X}", **fault(error)
    )
