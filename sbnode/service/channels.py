"""The ways that a notice goes: a webhook (JSON by HTTP POST) and e-mail (RFC 5321, STARTTLS by RFC 3207)."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path

import httpx

from sbnode import log
from sbnode.config import Mail, Webhook
from sbnode.errors import DestinationUnavailable
from sbnode.tls import client_context

__all__ = ["post", "send_mail"]


def post(webhook: Webhook, content: Mapping[str, object]) -> None:
    """POST ``content`` as JSON.

    Raises:
        DestinationUnavailable: no connection, no trust, no answer, or one that isn't 2xx; or a file can't be used.
    """
    headers = {} if webhook.token_file is None else {"Authorization": f"Bearer {_secret(webhook.token_file)}"}
    try:
        with httpx.Client(verify=_tls_context(webhook.ca), timeout=webhook.timeout_s, trust_env=False) as client:
            answer = client.post(webhook.url, json=dict(content), headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DestinationUnavailable(f"the webhook can't be reached: {type(error).__name__}") from error
    if not answer.is_success:
        raise DestinationUnavailable(f"the webhook answered HTTP {answer.status_code}")


def send_mail(mail: Mail, subject: str, text: str) -> None:
    """Send ``text`` to every recipient, over TLS unless ``starttls`` is false.

    Raises:
        DestinationUnavailable: no connection, no trust, or the server refuses all; or a file can't be used.
    """
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = mail.sender, ", ".join(mail.recipients), subject
    message["Date"], message["Auto-Submitted"] = formatdate(), "auto-generated"
    message.set_content(text)
    password = None if mail.password_file is None else _secret(mail.password_file)
    context = _tls_context(mail.ca)
    try:
        with smtplib.SMTP(mail.host, mail.port, timeout=mail.timeout_s) as server:
            if mail.starttls:
                server.starttls(context=context)
            if mail.user is not None and password is not None:
                server.login(mail.user, password)
            refused = server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        # The server's own words may quote the addresses; its code says enough.
        code = f" {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
        raise DestinationUnavailable(f"the mail server can't be used: {type(error).__name__}{code}") from error
    if refused:
        # Not worth another attempt: the others would get it again.
        log.get_logger().warning("notice_recipients_refused", refused=len(refused), recipients=len(mail.recipients))


def _tls_context(ca: Path | None) -> ssl.SSLContext:
    try:
        return client_context(ca)
    except OSError as error:
        raise DestinationUnavailable(f"{ca}, the authority of notices, can't be used") from error


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DestinationUnavailable(f"{path}, which holds the secret of notices, can't be read") from error
