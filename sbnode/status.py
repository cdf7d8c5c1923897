"""What an operator's tools ask over HTTP: ``/metrics``, ``/healthz`` and ``/readyz``."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Mapping
from hmac import compare_digest
from threading import Thread

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sbnode.config import Status
from sbnode.errors import ConfigError

__all__ = ["StatusServer", "application"]

Checks = Callable[[], Mapping[str, str | None]]
"""Returns the name of each condition for being ready, with None when it holds or with what is wrong."""


def application(registry: CollectorRegistry, checks: Checks, credentials: str | None = None) -> Starlette:
    """Return the ASGI application.

    With ``credentials``, "user:password", all but ``/healthz`` asks for them.

    ``/healthz`` answers 200 as long as the process lives. ``/readyz`` answers 200 when every check holds and
    503 otherwise, and names each.
    """

    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    def readyz(_: Request) -> Response:
        found = checks()
        ready = all(fault is None for fault in found.values())
        content = {"ready": ready, "checks": {name: fault or "ok" for name, fault in found.items()}}
        return JSONResponse(content, status_code=200 if ready else 503)

    return Starlette(
        routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)],
        middleware=[] if credentials is None else [Middleware(_BasicAuthentication, credentials=credentials)],
    )


class _BasicAuthentication:
    """Lets through who knows the credentials (RFC 7617), and everybody to ``/healthz``."""

    def __init__(self, app: ASGIApp, credentials: str) -> None:
        self._app = app
        self._expected = b"Basic " + base64.b64encode(credentials.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope.get("headers", [])).get(b"authorization", b"")
        if scope["type"] == "http" and scope["path"] != "/healthz" and not compare_digest(given, self._expected):
            challenge = {"WWW-Authenticate": 'Basic realm="sbnode", charset="UTF-8"'}
            await PlainTextResponse("user and password, please\n", 401, challenge)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _credentials(settings: Status) -> str | None:
    if settings.user is None or settings.password_file is None:
        return None
    try:
        return f"{settings.user}:{settings.password_file.read_text(encoding='utf-8').strip()}"
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"status.password_file: {settings.password_file} can't be read") from error


class StatusServer:
    """Serves the application in a thread of its own.

    Raises:
        ConfigError: the address or the file with the password can't be used.
    """

    def __init__(self, settings: Status, registry: CollectorRegistry, checks: Checks) -> None:
        credentials = _credentials(settings)
        try:
            self._socket = socket.create_server((settings.host, settings.port))
        except OSError as error:
            raise ConfigError(
                f"status.port: {settings.host}:{settings.port} can't be used ({error.strerror}); "
                "choose another port or end the process that has it"
            ) from error
        self._server = uvicorn.Server(
            uvicorn.Config(
                application(registry, checks, credentials),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
            )
        )
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="status", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what is being asked, then end."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._socket.close()
