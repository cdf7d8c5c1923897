"""The configuration: frozen models of ``config.yaml``. Every key has a default, so an empty file is a valid one.

A module for each noun; ``config`` puts them together, ``file`` reads them.
"""

from __future__ import annotations

from sbnode.config.audit import AuditTrail, Syslog
from sbnode.config.config import Config
from sbnode.config.file import load_config
from sbnode.config.method import Execution, Model, Results, Threshold
from sbnode.config.node import Node
from sbnode.config.notify import Mail, Notify, Webhook
from sbnode.config.peers import Archive, Destination, Peer, ResultObject, WebDestination
from sbnode.config.queue import Queue
from sbnode.config.receive import Caller, Completion, Receive
from sbnode.config.rules import Priority, Region, Rule, Selection
from sbnode.config.spool import Retention, Spool
from sbnode.config.status import Log, Monitoring, Status
from sbnode.config.tls import Tls

__all__ = [
    "Archive",
    "AuditTrail",
    "Caller",
    "Completion",
    "Config",
    "Destination",
    "Execution",
    "Log",
    "Mail",
    "Model",
    "Monitoring",
    "Node",
    "Notify",
    "Peer",
    "Priority",
    "Queue",
    "Receive",
    "Region",
    "ResultObject",
    "Results",
    "Retention",
    "Rule",
    "Selection",
    "Spool",
    "Status",
    "Syslog",
    "Threshold",
    "Tls",
    "WebDestination",
    "Webhook",
    "load_config",
]
