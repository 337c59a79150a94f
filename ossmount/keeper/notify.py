"""Tells systemd of a mount in the foreground. Source: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notify:
    """Does nothing where nobody asked to be told. What the environment says of it is taken out: it is not for daemons."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address, interval, pid = (environment.pop(name, "") for name in _VARIABLES)
        self._address = "\0" + address[1:] if address.startswith("@") else address
        asked = bool(self._address) and interval.isdecimal() and pid in ("", str(os.getpid()))
        self._every = int(interval) / 2e6 if asked else 0.0  # seconds: half of what systemd allows; 0: it is not asked for
        self._due = 0.0

    def ready(self, status: str) -> None:
        """The mount answers; also of each daemon that follows."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self, now: float) -> None:
        """A daemon that serves has shown that it lives."""
        if self._every and now >= self._due:
            self._due = now + self._every
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.sendto(message.encode(), self._address)
            except OSError:  # systemd is being replaced, or its queue is full: it is told again
                return
