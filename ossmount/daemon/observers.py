"""What looks at a mount and tells of it: metrics, health, the slow log, traces, and what is known of a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ossmount.channel.interface import Channel, Observable
from ossmount.control.server import Command, Talk
from ossmount.daemon.components import Named
from ossmount.daemon.explaining import ExplainCommand
from ossmount.daemon.exporting import check_metrics, make_exporting
from ossmount.daemon.health import Health, served_of
from ossmount.daemon.order import Order
from ossmount.daemon.remote import Remote
from ossmount.daemon.slow_log import PART, SlowLog
from ossmount.daemon.tracing import Tracing
from ossmount.data.reader import ObjectReader
from ossmount.metadata.interface import Namespace
from ossmount.options import declarations as options
from ossmount.options.settings import Settings, UsageError

if TYPE_CHECKING:
    from ossmount.data.disk.places import Places


class Cached(NamedTuple):
    """The cache on local disks: its folders, and under which name it keeps this source."""

    places: Places
    store: str


class Observers(NamedTuple):
    """As ossmount.daemon.components.Parts has them."""

    components: tuple[Named, ...]
    facts: Mapping[str, Callable[[], dict[str, object]]]
    commands: Mapping[str, Command]
    talks: Mapping[str, Talk]


def observe(
    order: Order, channel: Channel, remote: Remote, namespace: Namespace, reader: ObjectReader, disk: Cached | None
) -> Observers:
    """Made, and not started."""
    prefix = order.source.prefix

    def key_of(node: int) -> bytes:
        return namespace.resolve(node).key

    health = Health(
        remote.check, lambda: served_of(remote.pool.facts(), remote.facts()), lambda: sum(remote.requests().values())
    )
    components, facts = list[Named](), dict[str, Callable[[], dict[str, object]]]()
    if (exporting := make_exporting(order)) is not None:
        components.append(Named("metrics", exporting))
        facts["metrics"] = exporting.facts
    path, threshold = order.settings[options.SLOW_LOG], order.settings[options.SLOW_THRESHOLD]
    if path is not None:
        slow = SlowLog(path, threshold, key_of, prefix)
        components.append(Named("slow log", slow))
        facts["slow_log"] = slow.facts
        remote.pool.watch(slow.fetch_ended)
        if isinstance(channel, Observable):
            channel.observed.watch(slow.request_ended, threshold)
        if disk is not None:
            disk.places.watch(slow.disk_read, PART * threshold)
    places, store = (None, "") if disk is None else disk
    return Observers(
        components=tuple(components),
        facts=facts,
        commands={"health": health.answer, "explain": ExplainCommand(namespace, reader, channel, places, store)},
        talks={"trace": Tracing(channel, key_of, prefix).talk},
    )


def check_observing(settings: Settings) -> None:
    """At the mount, when nobody else of it can have the port. Raises UsageError."""
    check_metrics(settings)
    path = settings[options.SLOW_LOG]
    if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK)):
        raise UsageError(f"{settings.origin(options.SLOW_LOG)}: {path} cannot be written: give a file in a folder of your own")
