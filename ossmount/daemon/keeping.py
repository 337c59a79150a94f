"""How a keeper is started: by the command, or by a daemon whose keeper is gone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ossmount
from ossmount.channel.mounting import detach_commands
from ossmount.control.registry import Registry
from ossmount.daemon.choice import STARTER
from ossmount.daemon.order import Order
from ossmount.daemon.serving_user import find_user
from ossmount.keeper.plan import Plan
from ossmount.options.declarations import FUSE_FD

#: -I and -S, so that nothing but the standard library can be found, and a keeper that lives for months stays small.
_START = (
    "import sys; sys.path.append(sys.argv[1]); from ossmount.keeper.main import main; "
    "code = main(sys.argv[2:]); sys.stderr.flush(); __import__('os')._exit(code)"
)


def daemon_words(order: Order) -> list[str]:
    """The beginning of a daemon's command line. Source and mountpoint stand there for whoever looks at the processes."""
    return [sys.executable, "-m", "ossmount.daemon", str(order.source), order.mountpoint]


def plan_of(order: Order, *, greeting: str = "", report: int = -1, first: bool = True) -> Plan:
    """first: the keeper starts the daemon that mounts, perhaps a descriptor that we have inherited."""
    given = order.settings[FUSE_FD]
    user = find_user(order.settings) if os.geteuid() == 0 else None
    return Plan(
        argv=daemon_words(order),
        order=order.to_json(),
        socket=str(Registry(order.state).path(order.mountpoint, "-keeper-")),
        greeting=greeting,
        report=report,
        inherited=[given] if given is not None and first else [],
        user=[] if user is None else [user.uid, user.gid, *user.groups],
        source=str(order.source),
        starter=os.environ.get(STARTER, ""),
        mountpoint=order.mountpoint,
        detach=detach_commands(order.mountpoint),
    )


def keeper_words(plan: int, connection: int, mountpoint: str) -> list[str]:
    """The command line of a keeper; see ossmount.keeper.main."""
    root = str(Path(ossmount.__file__).resolve().parent.parent)
    return [sys.executable, "-I", "-S", "-c", _START, root, str(plan), str(connection), mountpoint]


def become_keeper(order: Order, environment: dict[str, str]) -> None:
    """Turns this process into the keeper of a mount in the foreground; returns only by OSError."""
    greeting = f"{order.source} is mounted at {order.mountpoint}; Ctrl-C unmounts it"
    plan = plan_of(order, greeting=greeting)
    descriptor = plan.write()
    for handed in (descriptor, *plan.inherited):
        os.set_inheritable(handed, True)
    sys.stdout.flush()
    sys.stderr.flush()
    words = keeper_words(descriptor, -1, order.mountpoint)
    os.execve(words[0], words, environment)
