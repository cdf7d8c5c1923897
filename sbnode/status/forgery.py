"""Whether a request that changes something was meant by who sends it (OWASP: cross-site request forgery).

A browser sends a password that it knows with every request, also with one that another site's page made. So a form
carries a token, which such a page can't know, and what browsers say of a request's origin is looked at too.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers

__all__ = ["COOKIE", "Forms"]

COOKIE = "sbnode"
"""Holds a random name of the browser. It is worth nothing without the password, and nothing to another site."""
_NAME = re.compile(r"[A-Za-z0-9_-]{43}")


class Forms:
    """Makes the tokens of forms and tells them from others. Tokens end with the process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def browser(self, cookie: str | None) -> str:
        """Return the name of the browser that sent this cookie; a new one where it is none of ours."""
        return cookie if cookie and _NAME.fullmatch(cookie) else secrets.token_urlsafe(32)

    def token(self, browser: str) -> str:
        """Return the token of the forms that this browser is shown."""
        return hmac(self._secret, browser.encode(), sha256).hexdigest()

    def meant(self, headers: Headers, cookie: str | None, token: str) -> bool:
        """Whether a form was sent from a page that this process made, by the browser it made it for."""
        if cookie is None or not _NAME.fullmatch(cookie):
            return False
        right = compare_digest(self.token(cookie).encode(), token.encode("utf-8", "surrogatepass"))
        return right and _of_this_site(headers)


def _of_this_site(headers: Headers) -> bool:
    """Whether the browser says nothing else than that the request comes from a page of this site.

    A page of another site can't set these headers. Behind a proxy that speaks TLS and calls the node by another name,
    Sec-Fetch-Site is right; without TLS, the proxy must hand on the name that it was called by.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return True
    names = (headers.get("host"), headers.get("x-forwarded-host"))
    return urlsplit(origin).netloc.casefold() in {name.casefold() for name in names if name}
