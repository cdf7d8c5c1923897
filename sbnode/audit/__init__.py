"""The audit trail: who sent what, and what went where, with the events of IHE ATNA (PS3.15 annex A.5)."""

from __future__ import annotations

from sbnode.audit.record import Participant
from sbnode.audit.syslog import SyslogSender
from sbnode.audit.trail import Audit

__all__ = ["Audit", "Participant", "SyslogSender"]
