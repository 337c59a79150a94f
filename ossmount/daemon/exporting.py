"""Runs the exporter: a component of the mount where metrics are asked for."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import trio

from ossmount.children.process import ChildProcess
from ossmount.control.registry import Registry
from ossmount.daemon.order import Order
from ossmount.options import declarations as options
from ossmount.options.settings import Settings, UsageError
from ossmount.options.units import split_address

log = logging.getLogger(__name__)

_RESTART: Final = 5.0  # seconds before an exporter that ended is started again


class Target(NamedTuple):
    """Where the numbers are shown."""

    host: str = ""
    port: int = 0  # 0: not over HTTP
    textfile: Path | None = None


def target_of(settings: Settings) -> Target | None:
    """None where no metrics were asked for."""
    address, textfile = settings[options.METRICS], settings[options.METRICS_FILE]
    host, port = split_address(address) if address else ("", 0)
    return Target(host, port, textfile) if port or textfile is not None else None


def check_metrics(settings: Settings) -> None:
    """At the mount, when nobody else of it can have the port. Raises UsageError."""
    target = target_of(settings)
    if target is not None and target.port:
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((target.host, target.port))
        except OSError as error:
            raise UsageError(
                f"{settings.origin(options.METRICS)}: {settings[options.METRICS]} cannot be listened on "
                f"({error.strerror}); give another address or port"
            ) from None
    if target is not None and target.textfile is not None and not os.access(target.textfile.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{settings.origin(options.METRICS_FILE)}: {target.textfile.parent} is no folder that can be written to"
        )


def make_exporting(order: Order) -> Exporting | None:
    target = target_of(order.settings)
    control = Registry(order.state).path(order.mountpoint, f"-{os.getpid()}.sock")
    return None if target is None else Exporting(target, order.mountpoint, control)


class Exporting:
    """Keeps an exporter running. The mount neither waits for it nor ends with it."""

    def __init__(self, target: Target, mountpoint: str, control: Path) -> None:
        """control: the socket at which the exporter asks the daemon."""
        self._target = target
        self._words = (os.fsencode(mountpoint).hex(), os.fsencode(control).hex())
        self._problem = "it is being started"
        self._process: ChildProcess | None = None

    def facts(self) -> dict[str, object]:
        target = self._target
        return {
            "address": f"{target.host}:{target.port}" if target.port else "",
            "textfile": str(target.textfile or ""),
            "problem": self._problem,
            "pid": None if self._process is None else self._process.pid,
        }

    async def run(self, started: Callable[[], None]) -> None:
        started()
        try:
            await self._keep_running()
        finally:
            if self._target.textfile is not None:
                with contextlib.suppress(OSError):  # else it would go on to say that the mount is there
                    self._target.textfile.unlink()

    async def _keep_running(self) -> None:
        while True:
            try:
                await self._run_once()
            except OSError as error:
                self._problem = f"it cannot be started: {error.strerror}"
            log.warning("metrics: %s; another try in %g s", self._problem or "the exporter has ended", _RESTART)
            await trio.sleep(_RESTART)

    async def _run_once(self) -> None:
        textfile = "" if self._target.textfile is None else os.fsencode(self._target.textfile).hex()
        process = ChildProcess(
            "ossmount.daemon.exporter",
            (*self._words, self._target.host, self._target.port, textfile),
            kind=socket.SOCK_STREAM,
            first=b"",
            environment={},
        )
        self._process = process
        try:
            await self._listen(process.control)
        finally:
            self._process = None
            await process.end()

    async def _listen(self, control: socket.socket) -> None:
        """Takes what it tells until it ends: what is the matter, in a line; an empty one: nothing."""
        received = b""
        while True:
            await trio.lowlevel.wait_readable(control)
            piece = control.recv(4096)
            if not piece:
                return
            *lines, received = (received + piece).split(b"\n")
            for line in lines:
                self._problem = line.decode("utf-8", "replace")
                if self._problem:
                    log.warning("metrics: %s", self._problem)
