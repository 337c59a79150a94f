"""One mount in this process: builds it, runs it, and keeps its record while it lives."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import trio

from ossmount.control.registry import Record, Registry, process_start
from ossmount.control.server import ControlServer
from ossmount.daemon import logs
from ossmount.daemon.build import build
from ossmount.daemon.components import Named
from ossmount.daemon.garbage import collect_rarely
from ossmount.daemon.lifecycle import Lifecycle
from ossmount.daemon.order import Order
from ossmount.daemon.status import Status
from ossmount.options.declarations import LOG_LEVEL


def run_mount(order: Order, environ: Mapping[str, str], ready: Callable[[], None]) -> None:
    """Mounts and serves until it is unmounted; ready is called once the mount answers.

    Raises whatever made it fail (see ossmount.daemon.failures).
    """
    logs.set_up(order.settings[LOG_LEVEL])
    order, parts = build(order, environ)
    registry = Registry(order.state)
    record = _record(order, registry)

    status = Status(order, parts)

    async def stop(request: dict[str, Any]) -> dict[str, Any]:
        lifecycle.stop("asked over the control socket")
        return {"pid": record.pid}

    commands = {**parts.commands, "status": status.answer, "stop": stop}
    control = Named("control", ControlServer(registry.path(order.mountpoint, f"-{record.pid}.sock"), commands, parts.talks))
    lifecycle = Lifecycle(parts._replace(components=(*parts.components, control)), order.mountpoint)

    async def announce() -> None:
        registry.write(record)
        ready()

    collect_rarely()
    trio.run(lifecycle.run, announce)
    # Only after an orderly end: the record of a daemon that failed lets `ossmount status` tell of it.
    registry.remove(record)


def _record(order: Order, registry: Registry) -> Record:
    pid = os.getpid()
    return Record(
        mountpoint=order.mountpoint,
        source=str(order.source),
        pid=pid,
        pid_started=process_start(pid) or 0,
        started=time.time(),
        socket=str(registry.path(order.mountpoint, f"-{pid}.sock")),
        log=order.log,
    )
