"""Builds the parts from the configuration, wires them, and ends them in order on SIGTERM.

``serve`` receives and queues; it runs the worker as a child process, so that neither a crash of the inference
nor its memory touches reception.
"""

from __future__ import annotations

from sbnode.service.check import Check, check
from sbnode.service.receiving import serve
from sbnode.service.rescan import Scanned, rescan
from sbnode.service.working import adopt, work

__all__ = ["Check", "Scanned", "adopt", "check", "rescan", "serve", "work"]
