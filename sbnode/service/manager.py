"""Telling the service manager how far the node is: sd_notify(3), a datagram to the socket that it names.

Without systemd, or under another kind of service, nobody is told.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

__all__ = ["tell_manager"]


def tell_manager(*states: str) -> None:
    """Send ``states``, such as ``READY=1``. A manager that doesn't listen is no reason to end."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        # A name with @ is one of the abstract namespace, which begins with a zero byte: unix(7).
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall("\n".join(states).encode())
