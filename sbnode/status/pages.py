"""The status page and what it leads to: results to fetch, and work to start again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from sbnode.errors import QueueBusy, QueueUnavailable
from sbnode.status.access import Viewer, viewer
from sbnode.status.forgery import COOKIE, Forms
from sbnode.status.overview import Overview
from sbnode.status.rendering import Renderer

__all__ = ["PageSource", "Pages"]

_JOB_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ITEM_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
_LONGEST_FORM_BYTES = 4096
_TYPES = {"style.css": "text/css", "script.js": "text/javascript", "icon.svg": "image/svg+xml"}
_RESULT_TYPES = {"preview.png": "image/png", "surface.stl": "model/stl", "seg.dcm": "application/dicom"}
"""What of a result is given out, and as what."""
_NAMES_PATIENT = ("seg.dcm",)
"""Files in which the patient is named: for who logged in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSource:
    """What the page is made of. Each is called in a thread of its own; ``user`` is empty where nobody logged in."""

    overview: Callable[[], Overview]
    result_folder: Callable[[str], Path]
    """The folder of a job's results, by its key; it need not be there."""
    retry: Callable[[str, str, str], int]
    """Starts what failed again and records who asked for it: id, user, address; returns how much that was.

    Raises:
        QueueUnavailable: the database of the queue doesn't answer; it is started once that does.
        QueueBusy: somebody else's change is under way; nothing was done.
    """
    dismiss: Callable[[str, str, str, str], int]
    """Puts away one thing that failed and records who asked for it: id, reason, user, address; returns 1, or 0 where it
    hadn't failed.

    Raises:
        QueueUnavailable, QueueBusy: as of ``retry``.
    """
    reasons: Mapping[str, str]
    """Why something may be put away, in words, by what ``dismiss`` calls it."""
    exported: Callable[[str, str, str], None]
    """Is told who fetched results: user, address, job key."""


class Pages:
    """The handlers of the page's routes."""

    def __init__(self, source: PageSource) -> None:
        self._source = source
        self._forms = Forms()
        self._static = {name: files(__package__).joinpath("static", name).read_bytes() for name in _TYPES}
        edition = sha256(b"".join(self._static.values())).hexdigest()[:12]
        self._renderer = Renderer(edition, source.reasons)

    def routes(self) -> list[Route]:
        """Return what is answered where; all addresses on the page are relative, so a proxy may move it."""
        return [
            Route("/", self.page),
            Route("/parts", self.parts),
            Route("/retry", self.retry, methods=["POST"]),
            Route("/dismiss", self.dismiss, methods=["POST"]),
            Route("/results/{job}/{name}", self.result),
            Route("/static/{name}", self.static),
        ]

    def page(self, request: Request) -> Response:
        """Answer the whole page."""
        return self._shown(request, "page.html", request.query_params.get("told", ""))

    def parts(self, request: Request) -> Response:
        """Answer what of the page changes, for its script."""
        return self._shown(request, "parts.html", "")

    def result(self, request: Request) -> Response:
        """Answer a file of a result, and have it recorded who fetched it."""
        who = _viewer(request)
        job, name = request.path_params["job"], request.path_params["name"]
        if not _JOB_KEY.fullmatch(job) or name not in _RESULT_TYPES:
            return self._message(request, 404, "There is no such result.")
        if not who.trusted or (name in _NAMES_PATIENT and not who.authenticated):
            return self._message(
                request, 403, "Only people who log in can fetch this: set status.user and status.password_file."
            )
        path = self._source.result_folder(job) / name
        if not path.is_file():
            return self._message(request, 404, "This result is not there. It may have been deleted by retention.")
        picture = name == "preview.png"
        if not picture and request.method == "GET":
            self._source.exported(who.user or "", who.address, job)
        return FileResponse(
            path,
            media_type=_RESULT_TYPES[name],
            filename=f"sbnode-{job[:12]}-{name}",
            content_disposition_type="inline" if picture else "attachment",
            headers={"Cache-Control": "no-store"},
        )

    def static(self, request: Request) -> Response:
        """Answer a file of the page. Its address has the edition in it, so a browser may keep it."""
        name = request.path_params["name"]
        if name not in _TYPES:
            return self._message(request, 404, "There is no such file.")
        keep = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(self._static[name], media_type=_TYPES[name], headers=keep)

    async def retry(self, request: Request) -> Response:
        """Start again what failed, and lead back to the page."""
        who, form = _viewer(request), await _form(request)
        refusal = self._refusal(request, who, form)
        if refusal is not None:
            return refusal
        return _back(await _told("retried", "nothing", self._source.retry, form["id"], who.user or "", who.address))

    async def dismiss(self, request: Request) -> Response:
        """Put away what failed, and lead back to the page."""
        who, form = _viewer(request), await _form(request)
        refusal = self._refusal(request, who, form)
        if refusal is not None:
            return refusal
        reason = form.get("reason", "")
        if reason not in self._source.reasons:
            return self._message(request, 400, "Say why: choose one of the reasons.")
        facts = (form["id"], reason, who.user or "", who.address)
        return _back(await _told("dismissed", "untouched", self._source.dismiss, *facts))

    def _refusal(self, request: Request, who: Viewer, form: Mapping[str, str]) -> Response | None:
        """Return why a form isn't followed; None where it is: who sends it may, means it, and names something."""
        if not who.trusted:
            return self._message(
                request, 403, "Only people who log in may do this: set status.user and status.password_file."
            )
        if not self._forms.meant(request.headers, request.cookies.get(COOKIE), form.get("token", "")):
            return self._message(
                request, 403, "This was not sent from the page as it is now. Go back to it and try again."
            )
        if not _ITEM_ID.fullmatch(form.get("id", "")):
            return self._message(request, 404, "There is nothing by this name.")
        return None

    def _shown(self, request: Request, template: str, told: str) -> Response:
        who = _viewer(request)
        browser = self._forms.browser(request.cookies.get(COOKIE))
        html = self._renderer.page(template, self._source.overview(), who, self._forms.token(browser), told)
        response = HTMLResponse(html)
        if browser != request.cookies.get(COOKIE):
            # No path: the browser takes that of the page, wherever a proxy put it.
            response.set_cookie(COOKIE, browser, path=None, httponly=True, samesite="strict", secure=_secure(request))
        return response

    def _message(self, request: Request, status: int, text: str) -> Response:
        # Relative, as all addresses: a proxy may have put the page under a path of its own.
        root = "../" * (request.url.path.count("/") - 1) or "./"
        return HTMLResponse(self._renderer.message(status, text, root), status)


def _viewer(request: Request) -> Viewer:
    return viewer(request.scope, request.scope.get("sbnode.user"))


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"


async def _told(done: str, nothing: str, change: Callable[..., int], *facts: str) -> str:
    """Do a change; return the word of TOLD for what came of it: ``done``, or ``nothing`` where it changed nothing."""
    try:
        return done if await run_in_threadpool(change, *facts) else nothing
    except QueueUnavailable:
        return "unavailable"
    except QueueBusy:
        return "busy"


def _back(told: str) -> Response:
    return RedirectResponse(f"./?told={told}", 303)


async def _form(request: Request) -> dict[str, str]:
    """Return the first value of each field; of a form that is too long, none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM_BYTES:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("ascii", "replace")).items()}
