"""One mount in this process: builds it, runs it, and keeps its record while it lives."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import trio

from ossmount.channel.interface import Debtor
from ossmount.children.allocator import keep_little
from ossmount.children.shield import shield
from ossmount.control.registry import Record, Registry, process_start
from ossmount.control.server import ControlServer
from ossmount.daemon import logs
from ossmount.daemon.build import build
from ossmount.daemon.components import Named
from ossmount.daemon.dump import answering_signals
from ossmount.daemon.garbage import collect_rarely
from ossmount.daemon.kept import Kept
from ossmount.daemon.lifecycle import Lifecycle
from ossmount.daemon.order import Order
from ossmount.daemon.status import Status
from ossmount.daemon.watchdog import Watchdog
from ossmount.options.declarations import LOG_LEVEL, TIMEOUT


def run_mount(order: Order, environ: Mapping[str, str], ready: Callable[[], None], kept: Kept | None = None) -> None:
    """Mounts and serves until it is unmounted; ready is called once the mount answers.

    kept: with a keeper; then the mount may be one that another daemon has served.
    Raises whatever made it fail (see ossmount.daemon.failures).
    """
    shield()
    keep_little()
    logs.set_up(order.settings[LOG_LEVEL])
    given = order
    order, parts = build(order, environ, kept)
    registry = Registry(order.state)
    record = _record(order, registry)

    status = Status(order, parts, kept)

    async def stop(request: dict[str, Any]) -> dict[str, Any]:
        lifecycle.stop("asked over the control socket")
        return {"pid": record.pid}

    def register() -> None:
        nonlocal record
        record = _record(order, registry, kept)
        if kept is None or not kept.inherits or _is_ours(registry.find(order.mountpoint), record.pid, kept.keepers):
            registry.write(record)

    commands = {**parts.commands, "status": status.answer, "stop": stop}
    control = Named("control", ControlServer(registry.path(order.mountpoint, f"-{record.pid}.sock"), commands, parts.talks))
    owed = parts.channel.owed if isinstance(parts.channel, Debtor) else None
    watchdog = Watchdog(owed, order.settings[TIMEOUT], kept=kept is not None)
    components = (*parts.components, Named("history", status.history), control, Named("watchdog", watchdog))
    if kept is not None:
        components = (Named("keeper", kept, early=True), *components)
        if kept.follows_a_death:
            parts = parts._replace(verify=_nothing)  # OSS may be down: what is in memory is served all the same
    lifecycle = Lifecycle(parts._replace(components=components), order.mountpoint, kept=kept, stopping=watchdog.stop)
    if kept is not None:
        kept.attach(given, lifecycle.leave, register)
        kept.built()

    async def announce() -> None:
        register()
        if kept is not None:
            kept.ready()
        ready()

    collect_rarely()
    with answering_signals({"in hand": watchdog.lines, "counters": status.lines}), watchdog.alone():
        trio.run(lifecycle.run, announce)
    if kept is not None and lifecycle.left:
        kept.see_off()
    # Only after an orderly end: the record of a daemon that failed lets `ossmount status` tell of it.
    if not lifecycle.left:
        registry.remove(record)


async def _nothing() -> None: ...


def _is_ours(found: Record | None, pid: int, keepers: Collection[int]) -> bool:
    """Whether a record tells of our mount, and not of another one at the same place (ours is lazily detached then).

    keepers: all of our mount. The daemon before us may still be at its end when our keeper is the next one already.
    """
    return found is None or not found.alive() or found.keeper_pid in keepers or found.pid == pid


def _record(order: Order, registry: Registry, kept: Kept | None = None) -> Record:
    pid = os.getpid()
    return Record(
        mountpoint=order.mountpoint,
        source=str(order.source),
        pid=pid,
        pid_started=process_start(pid) or 0,
        started=time.time(),
        socket=str(registry.path(order.mountpoint, f"-{pid}.sock")),
        log=order.log,
        keeper_pid=0 if kept is None else kept.pid,
        keeper_started=0 if kept is None else process_start(kept.pid) or 0,
        keeper_socket="" if kept is None else kept.socket,
    )
