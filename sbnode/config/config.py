"""All of the configuration, and what its sections ask of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, model_validator

from sbnode.config.audit import AuditTrail
from sbnode.config.method import Execution, Model, Results, Threshold
from sbnode.config.node import Node
from sbnode.config.notify import Notify
from sbnode.config.peers import Archive, Destination, WebDestination
from sbnode.config.queue import Queue
from sbnode.config.receive import Receive
from sbnode.config.rules import Region, Rule, Selection
from sbnode.config.section import Section
from sbnode.config.spool import Retention, Spool
from sbnode.config.status import Log, Monitoring, Status
from sbnode.spelling import meant

__all__ = ["Config"]


class Config(Section):
    """All of ``config.yaml``."""

    node: Node = Node()
    receive: Receive = Receive()
    spool: Spool = Spool()
    retention: Retention = Retention()
    selection: Selection = Selection()
    region: Region = "skull_base"
    model: Model = Model()
    execution: Execution = Execution()
    threshold: Threshold = Threshold()
    results: Results = Results()
    archives: tuple[Archive, ...] = ()
    destinations: tuple[Destination, ...] = ()
    web_destinations: tuple[WebDestination, ...] = ()
    rules: tuple[Rule, ...] = ()
    shadow: bool = False
    """True: results are made and kept in the spool, and not sent until somebody releases them."""
    queue: Queue = Queue()
    status: Status = Status()
    log: Log = Log()
    audit: AuditTrail = AuditTrail()
    notify: Notify = Notify()
    monitoring: Monitoring = Monitoring()

    @model_validator(mode="after")
    def _sections_agree(self) -> Config:
        faults = [
            *self._wanted_but_not_made(),
            *self._same_names(),
            *self._callers_not_let_in(),
            *self._certificates_not_asked_for(),
            *self._unknown_destinations(),
        ]
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _wanted_but_not_made(self) -> Iterator[str]:
        made = {"fine": ("results.fine", self.results.fine), "labelmap": ("results.label_map", self.results.label_map)}
        for destination in self.all_destinations:
            for kind, (setting, is_made) in made.items():
                if kind in destination.objects and not is_made:
                    yield f"destination {destination.name} wants the object '{kind}': set {setting} to true"

    def _same_names(self) -> Iterator[str]:
        named: tuple[tuple[str, Sequence[BaseModel], str], ...] = (
            ("destinations", self.all_destinations, "name"),
            ("archives", self.archives, "name"),
            ("archives", self.archives, "ae_title"),
            ("rules", self.rules, "name"),
        )
        for section, items, what in named:
            found = [getattr(item, what) for item in items]
            if len(set(found)) < len(found):
                yield f"{section}: two of them have the same {what}"

    def _callers_not_let_in(self) -> Iterator[str]:
        allowed = self.receive.allowed
        for archive in self.archives:
            if archive.ae_title not in allowed:
                yield (
                    f"archive {archive.name}: {archive.ae_title} must be among "
                    "receive.calling_ae_titles or callers, for it sends to this node"
                )
        for destination in self.destinations:
            if destination.confirm == "commitment" and destination.ae_title not in allowed:
                yield (
                    f"destination {destination.name}: confirm: commitment needs {destination.ae_title} among "
                    "receive.calling_ae_titles or callers, for it may report on an association of its own"
                )

    def _certificates_not_asked_for(self) -> Iterator[str]:
        asked = self.node.tls is not None and self.node.tls.ca is not None
        for caller in self.receive.callers:
            if caller.certificate_name is not None and not asked:
                yield (
                    f"receive.callers: {caller.ae_title} has a certificate_name, which needs node.tls with ca: "
                    "without it, no client is asked for a certificate"
                )

    def _unknown_destinations(self) -> Iterator[str]:
        known = [destination.name for destination in self.all_destinations]
        for rule in self.rules:
            for name in rule.destinations or ():
                if name not in known:
                    yield f"rule {rule.name}: no destination is named '{name}'{meant(name, known)}"

    @property
    def all_destinations(self) -> tuple[Destination | WebDestination, ...]:
        """Those that are sent to by C-STORE, then those by STOW-RS."""
        return (*self.destinations, *self.web_destinations)
