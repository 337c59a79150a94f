"""What looks at a mount and tells of it: metrics and health."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ossmount.channel.interface import Channel
from ossmount.control.server import Command, Talk
from ossmount.daemon.components import Named
from ossmount.daemon.exporting import make_exporting
from ossmount.daemon.health import Health, served_of
from ossmount.daemon.order import Order
from ossmount.daemon.remote import Remote


class Observers(NamedTuple):
    """As ossmount.daemon.components.Parts has them."""

    components: tuple[Named, ...]
    facts: Mapping[str, Callable[[], dict[str, object]]]
    commands: Mapping[str, Command]
    talks: Mapping[str, Talk]


def observe(order: Order, channel: Channel, remote: Remote) -> Observers:
    """Made, and not started."""
    health = Health(
        remote.check, lambda: served_of(remote.pool.facts(), remote.facts()), lambda: sum(remote.requests().values())
    )
    exporting = make_exporting(order)
    return Observers(
        components=() if exporting is None else (Named("metrics", exporting),),
        facts={} if exporting is None else {"metrics": exporting.facts},
        commands={"health": health.answer},
        talks={},
    )
