"""How the daemons of one mount are started: what the keeper is given when it starts, and by `ossmount restart`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

_LARGEST = 16 << 20  # bytes of a plan


class Plan:
    """Not a dataclass, whose module alone would cost the keeper half a megabyte."""

    __slots__ = (
        "argv",
        "detach",
        "environment",
        "greeting",
        "inherited",
        "mountpoint",
        "order",
        "report",
        "socket",
        "source",
        "starter",
        "user",
    )

    def __init__(
        self,
        *,
        argv: Sequence[str],
        order: str,
        socket: str,
        environment: Mapping[str, str] | None = None,
        greeting: str = "",
        report: int = -1,
        inherited: Sequence[int] = (),
        starter: str = "",
        mountpoint: str = "",
        detach: Sequence[Sequence[str]] = (),
        source: str = "",
        user: Sequence[int] = (),
    ) -> None:
        self.argv = list(argv)  # of a daemon, without the descriptors that follow
        self.order = order  # what the daemon reads on its stdin
        self.socket = socket  # path of the keeper's control socket up to its pid
        self.environment = dict(environment or {})  # what daemons have instead of the keeper's own
        self.greeting = greeting  # what is printed when the mount is ready; "": it is reported to the command instead
        self.report = report  # the descriptor that the first daemon reports on
        self.inherited = list(inherited)  # further descriptors for the first daemon
        self.starter = starter  # the socket of who starts the daemons in another container; "": they are our children
        self.mountpoint = mountpoint  # as the mount table has it
        self.detach = [list(words) for words in detach]  # commands that take the mount away, when no daemon does
        self.source = source  # as the mount table is to show it
        self.user = list(user)  # whom a keeper of root's becomes: uid, gid and all groups

    def __repr__(self) -> str:
        return f"<Plan {' '.join(self.argv[1:])}>"

    def changed(self, *, argv: Sequence[str], order: str, environment: Mapping[str, str]) -> Plan:
        """The plan of a restart."""
        return Plan(
            argv=argv,
            order=order,
            socket=self.socket,
            environment={**self.environment, **environment},
            mountpoint=self.mountpoint,
            detach=self.detach,
            starter=self.starter,
        )

    def write(self) -> int:
        """A memfd that holds it, readable from the beginning."""
        return memory_file("ossmount-plan", json.dumps({name: getattr(self, name) for name in self.__slots__}))

    @classmethod
    def read(cls, descriptor: int) -> Plan:
        """Takes it from write()'s descriptor, and closes that."""
        with open(descriptor, encoding="utf-8") as file:
            return cls(**json.loads(file.read(_LARGEST)))


def memory_file(name: str, text: str) -> int:
    """A memfd with this text, readable from the beginning."""
    descriptor = os.memfd_create(name)
    try:
        with open(descriptor, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
