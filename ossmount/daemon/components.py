"""What the lifecycle needs to know of the parts of a mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from ossmount.channel.interface import Channel
from ossmount.control.server import Command, Talk


class Component(Protocol):
    """A part that works in a task of its own."""

    async def run(self, started: Callable[[], None]) -> None:
        """Works until it is cancelled; calls started once it can be used."""
        ...


class Named(NamedTuple):
    """A component, by the name that the log uses."""

    name: str
    component: Component
    early: bool = False  # starts while OSS is asked whether source and credentials are right, and leaves no trace if not


class Parts(NamedTuple):
    """One mount, built but not started."""

    verify: Callable[[], Awaitable[None]]  # asks OSS whether source and credentials are right
    components: tuple[Named, ...]  # in the order in which they start
    channel: Channel
    channel_reason: str
    fetch_pids: Callable[[], list[int]]
    requests: Callable[[], dict[str, int]]  # made to OSS so far, by kind: list, head, get, …
    facts: dict[str, Callable[[], dict[str, object]]]  # for `ossmount status`, by component
    commands: Mapping[str, Command] = {}  # of the control socket, beside those that every mount has
    talks: Mapping[str, Talk] = {}  # commands of the control socket that last as long as their client stays
