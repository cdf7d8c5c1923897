"""The ASGI application: what is asked for where."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sbnode.status.access import BasicAuthentication
from sbnode.status.accounts import Account
from sbnode.status.headers import SecurityHeaders
from sbnode.status.pages import Pages, PageSource

__all__ = ["Checks", "application"]

_SCRAPES = 2
"""So many at once: one waits as long as what it asks does, and keeps a thread that others need."""
_SCRAPE_S = 5.0

Checks = Callable[[], Mapping[str, str | None]]
"""Returns the name of each condition for being ready, with None when it holds or with what is wrong."""


def application(
    registry: CollectorRegistry, checks: Checks, accounts: Sequence[Account] = (), source: PageSource | None = None
) -> Starlette:
    """Return the ASGI application.

    With ``accounts``, all but ``/healthz`` asks for the password of one. Without ``source`` there is no page.

    ``/healthz`` answers 200 as long as the process lives. ``/readyz`` answers 200 when every check holds and
    503 otherwise, and names each.
    """
    scrapes = asyncio.Semaphore(_SCRAPES)

    async def metrics(_: Request) -> Response:
        try:
            async with asyncio.timeout(_SCRAPE_S):
                await scrapes.acquire()
        except TimeoutError:
            return PlainTextResponse("earlier scrapes have no answer yet\n", 503)
        try:
            return Response(await run_in_threadpool(generate_latest, registry), media_type=CONTENT_TYPE_LATEST)
        finally:
            scrapes.release()

    async def healthz(_: Request) -> Response:  # not in a thread, of which there may be none left
        return PlainTextResponse("ok\n")

    def readyz(_: Request) -> Response:
        found = checks()
        ready = all(fault is None for fault in found.values())
        content = {"ready": ready, "checks": {name: fault or "ok" for name, fault in found.items()}}
        return JSONResponse(content, status_code=200 if ready else 503)

    middleware = [Middleware(SecurityHeaders)]
    if accounts:
        middleware.append(Middleware(BasicAuthentication, accounts=accounts))
    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            *(Pages(source).routes() if source is not None else ()),
        ],
        middleware=middleware,
    )
