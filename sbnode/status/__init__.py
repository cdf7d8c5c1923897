"""What the node says over HTTP: a page for people; ``/metrics``, ``/healthz`` and ``/readyz`` for an operator's tools.

The page is made on the server, needs no JavaScript, and asks nobody but the node for anything. It shows what
`sbnode.status.overview` describes; who may see and do what is decided in `sbnode.status.access`.
"""

from __future__ import annotations

from sbnode.status.accounts import read_accounts
from sbnode.status.application import Checks, application
from sbnode.status.pages import PageSource
from sbnode.status.server import StatusServer

__all__ = ["Checks", "PageSource", "StatusServer", "application", "read_accounts"]
