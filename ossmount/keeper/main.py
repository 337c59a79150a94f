"""The keeper's process: `main PLAN CONNECTION MOUNTPOINT`.

PLAN and CONNECTION are descriptors; CONNECTION leads to the daemon that started this keeper, -1: it is to start one.
MOUNTPOINT is for whoever looks at the list of processes.
"""

from __future__ import annotations

import os
import socket

from ossmount.children.shield import shield
from ossmount.keeper import wire
from ossmount.keeper.backing import Backings
from ossmount.keeper.daemon import Daemon, read_oom_score_adj, write_oom_score_adj
from ossmount.keeper.guard import Guard, start_guard
from ossmount.keeper.identity import become
from ossmount.keeper.keeper import Keeper
from ossmount.keeper.mounting import Mounting
from ossmount.keeper.plan import Plan
from ossmount.keeper.report import log

_NAME = "ossmount-keeper"  # 15 bytes are the most
_OOM_SCORE_ADJ = "-900"  # nearly the last to be killed for memory: it has none to give


def main(arguments: list[str]) -> int:
    """Serves until the mount is gone; the exit code of `ossmount mount --foreground`."""
    plan = Plan.read(int(arguments[0]))
    os.chdir("/")
    with open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(_NAME)
    own = read_oom_score_adj()
    lowered = int(own) > int(_OOM_SCORE_ADJ) and write_oom_score_adj(os.getpid(), _OOM_SCORE_ADJ)
    guard = _give_up_root(plan)
    shield()  # the environment has the access keys
    if int(arguments[1]) >= 0:
        keeper = _adopting(plan, int(arguments[1]), own if lowered else "")
    else:
        journal = os.memfd_create("ossmount-journal")
        keeper = Keeper(plan, os.pipe(), journal, oom=own if lowered else "", guard=guard)
        keeper.start()
    return keeper.run()


def _give_up_root(plan: Plan) -> Guard | None:
    """For a mount whose processes belong to an ordinary user: who does for it what only root can. None where it is its own."""
    if not plan.user or os.geteuid():
        return None
    uid, gid, *groups = plan.user
    mounting = Mounting(plan.source, plan.mountpoint)
    guard = start_guard(mounting, uid, gid, groups)
    os.close(mounting.place)
    become(uid, gid, groups)
    return guard


def _adopting(plan: Plan, descriptor: int, own_oom: str) -> Keeper:
    connection = socket.socket(fileno=descriptor)
    received = wire.receive(connection)
    if received is None:
        raise SystemExit("the daemon is gone")
    message, (reading, writing, journal, device, *rest) = received
    connection.setblocking(False)
    pid = int(str(message["pid"]))
    guard = Guard(socket.socket(fileno=rest[0]), int(str(message["guard"]))) if rest else None
    keeper = Keeper(plan, (reading, writing), journal, oom=own_oom, guard=guard)
    backings = message["backings"]
    assert isinstance(backings, list)
    numbers = Backings(backings) if guard is None else guard.backings(backings)
    daemon = Daemon(pid, connection, wire.FIRST, plan)
    keeper.adopt(daemon, device, message["agreement"], numbers, serving=bool(message["serving"]))
    log(f"keeper {os.getpid()} keeps daemon {pid}: the keeper before it is gone")
    return keeper
