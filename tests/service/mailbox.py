"""A mail server of RFC 5321 with STARTTLS and AUTH PLAIN, and a web server, that keep what they are sent."""

from __future__ import annotations

import base64
import json
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.scp.certificates import Certificate


def server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


class Mailbox:
    """Takes mail on ``port``. ``refuse`` holds recipients that it refuses."""

    def __init__(self, certificate: Certificate | None = None, login: tuple[str, str] | None = None) -> None:
        self.messages: list[str] = []
        self.refuse: set[str] = set()
        self.encrypted: list[bool] = []
        self.context = None if certificate is None else server_context(certificate)
        self.login = login
        box = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                _Session(self, box).run()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Session:
    def __init__(self, connection: Any, box: Mailbox) -> None:
        self._socket, self._lines, self._box = connection.connection, connection.rfile, box
        self._encrypted = self._trusted = False

    def _say(self, text: str) -> None:
        self._socket.sendall(f"{text}\r\n".encode())

    def run(self) -> None:
        self._say("220 mailbox")
        try:
            while line := self._lines.readline():
                if not self._answer(line.decode().strip()):
                    break
        except (OSError, ValueError):
            pass  # a client that doesn't trust the certificate breaks off
        finally:
            self._socket.close()

    def _answer(self, line: str) -> bool:
        verb = line.split(" ")[0].upper()
        if verb == "EHLO":
            starttls = ["250-STARTTLS"] if self._box.context and not self._encrypted else []
            self._say("\r\n".join(["250-mailbox", *starttls, "250 AUTH PLAIN"]))
        elif verb == "STARTTLS" and self._box.context:
            self._say("220 go on")
            self._socket = self._box.context.wrap_socket(self._socket, server_side=True)
            self._lines = self._socket.makefile("rb")
            self._encrypted = True
        elif verb == "AUTH":
            _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
            self._trusted = (user, password) == self._box.login
            self._say("235 welcome" if self._trusted else "535 no")
        elif verb == "MAIL" and self._box.login and not self._trusted:
            self._say("530 who are you")
        elif verb == "RCPT":
            self._say("550 nobody" if any(one in line for one in self._box.refuse) else "250 yes")
        elif verb == "DATA":
            self._say("354 go on")
            content = b""
            while not content.endswith(b"\r\n.\r\n"):
                content += self._lines.readline()
            self._box.messages.append(content.decode())
            self._box.encrypted.append(self._encrypted)
            self._say("250 taken")
        else:
            self._say("221 bye" if verb == "QUIT" else "250 ok")
        return verb != "QUIT"


class Hook:
    """Takes JSON on ``port``; ``statuses`` are its answers, then 204."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.received: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.statuses: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = hook.statuses.pop(0) if hook.statuses else 204
                if status < 300:
                    hook.received.append(content)
                    hook.tokens.append(self.headers["Authorization"])
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if certificate is not None:
            self._server.socket = server_context(certificate).wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
