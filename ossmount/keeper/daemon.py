"""One daemon, as its keeper sees it: started, watched by a pidfd, spoken to over a socket."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping

from ossmount.keeper import elsewhere, wire
from ossmount.keeper.mounts import is_automounted
from ossmount.keeper.plan import Plan, memory_file
from ossmount.keeper.report import log

SILENT = 10.0  # seconds without a heartbeat after which a daemon counts as dead
DUMPING = 1.0  # seconds that a daemon which counts as dead has to write down what it was doing
HALF_DEAD = 2.0  # seconds without a heartbeat between looks at whether its main thread has ended
STARTING = 60.0  # seconds from its start until a daemon serves; it lists nothing for that
HURRY = 10  # how much nicer than others the machine is to a daemon for which all readers wait, until it is built
REAPING = 0.5  # seconds from SIGKILL to the next daemon, whether the killed one is gone by then or not
CLOSING = 30.0  # seconds from leaving the connection to the end of the process
_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # as a program expects them


class Daemon:
    """States: it was started; it is `prepared`; it is `serving`; it has `left`, or was `killed`; it has ended."""

    def __init__(self, pid: int, connection: socket.socket, role: str, plan: Plan, *, pidfd: int = -1) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid) if pidfd < 0 else pidfd
        self.connection = connection
        self.role = role
        self.plan = plan
        self.started = self.beat = self._looked = time.monotonic()
        self._starved = (0.0, 0.0)  # at the first look after which beat, and for how long it had waited for a core until then
        self.prepared = False
        self.serving = False
        self.left = 0.0  # when
        self.condemned = 0.0  # when: it is to write down its state, and is killed then
        self.killed = 0.0  # when
        self.why = ""  # what it says of its own end

    def __repr__(self) -> str:
        return f"<Daemon {self.pid} {self.role} serving={self.serving} left={self.left}>"

    def tell(self, kind: str, descriptors: tuple[int, ...] = (), **fields: object) -> None:
        """One that takes nothing any more is found out by its end or by its silence."""
        try:
            wire.send(self.connection, kind, descriptors, **fields)
        except OSError:
            return

    def signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def kill(self) -> None:
        if not self.killed:
            self.killed = time.monotonic()
            self.signal(signal.SIGKILL)

    def condemn(self, why: str) -> None:
        """Counts it as dead: it is killed soon, and may write down its stacks and its state before (ossmount.daemon.dump)."""
        if not self.condemned and not self.killed:
            self.condemned, self.why = time.monotonic(), why
            log(f"daemon {self.pid} {why}, its state is {self.state()}: what it does follows, and it is killed", "ERROR")
            self.signal(signal.SIGUSR2)

    def kill_if_dead(self, now: float) -> None:
        if self.condemned:
            if now >= self.condemned + DUMPING:
                self.kill()
        elif not self.killed and (why := self.trouble(now)):
            self.condemn(why)

    def due(self) -> float:
        """When to ask for trouble() again, if it does not move before."""
        if self.condemned and not self.killed:
            return self.condemned + DUMPING
        if self.left:
            return self.left + CLOSING
        if self.killed:
            return self.killed + REAPING
        due = max(self.beat, self._looked) + HALF_DEAD
        return due if self.serving or self.prepared else min(due, self.started + STARTING)

    def trouble(self, now: float) -> str:
        """Why it counts as dead though it has not ended; "" when it does not."""
        if self.left:
            return f"left, and did not end within {CLOSING:g} s" if now >= self.left + CLOSING else ""
        if now >= self.beat + HALF_DEAD and self._silence(now) >= SILENT:
            return f"gave no sign of life for {SILENT:g} s"
        if now >= self.due():
            self._looked = now
            if now >= self.beat + HALF_DEAD and self.state()[0] in "ZX":
                return "has ended, but a thread of it is held in the kernel"
            if not (self.serving or self.prepared) and now >= self.started + STARTING:
                return f"did not serve within {STARTING:g} s"
        return ""

    def _silence(self, now: float) -> float:
        """Seconds without a heartbeat, but for those in which its main thread waited for a core: such a one is not stuck, and
        the next one would get no core either."""
        waited = self.waited()
        beat, before = self._starved
        if beat != self.beat:
            self._starved = (self.beat, before := waited)
        return now - self.beat - (waited - before)

    def waited(self) -> float:
        """Seconds for which its main thread could have run and another one did; 0 where the kernel does not count them."""
        try:
            with open(f"/proc/{self.pid}/schedstat", encoding="ascii") as file:
                return int(file.read().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def state(self) -> str:
        """Of its main thread, as /proc/PID/status has it: "S (sleeping)", "T (stopped)", "D (disk sleep)"…"""
        try:
            with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
                return next(line.partition(":")[2].strip() for line in file if line.startswith("State:"))
        except (OSError, StopIteration):
            return "X (gone)"

    def reap(self) -> str:
        """After its end: how it ended, as text. Closes what the keeper has of it."""
        os.close(self.pidfd)
        self.connection.close()
        try:
            _, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return "has ended"  # it is not our child: this keeper was started by it, or it lives in another container
        code = os.waitstatus_to_exitcode(status)
        return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"


def spawn(plan: Plan, role: str, oom_score_adj: str) -> Daemon:
    """Starts a daemon. Raises OSError, NoStarter among them. oom_score_adj: its own, where the keeper has a lower one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report = plan.report if role == wire.FIRST else -1
    handed = [theirs.fileno(), *(fd for fd in (report, *plan.inherited) if fd >= 0 and role == wire.FIRST)]
    order = memory_file("ossmount-order", plan.order)
    words = [*plan.argv, str(report), str(theirs.fileno())]
    pidfd = -1
    try:
        if plan.starter:
            pid, pidfd = elsewhere.start(plan.starter, words, plan.environment, {0: order, **{fd: fd for fd in handed}})
        else:
            places = {0: order, **{fd: fd for fd in handed}}
            own = not is_automounted(plan.mountpoint)
            pid = start(words, {**os.environ, **plan.environment}, places, own_session=own)
    except BaseException:
        ours.close()
        raise
    finally:
        os.close(order)
        theirs.close()
    ours.setblocking(False)
    if oom_score_adj:
        write_oom_score_adj(pid, oom_score_adj)
    if role == wire.SUCCESSOR:
        _hurry(pid)
    return Daemon(pid, ours, role, plan, pidfd=pidfd)


def start(words: list[str], environment: Mapping[str, str], places: Mapping[int, int], *, own_session: bool = True) -> int:
    """A process with descriptors of ours at these numbers; its pid. Raises OSError."""
    moves = [(os.POSIX_SPAWN_DUP2, descriptor, place) for place, descriptor in places.items()]
    return os.posix_spawn(
        words[0], words, environment, file_actions=moves, setsid=own_session, setsigdef=_SIGNALS, setsigmask=()
    )


def _hurry(pid: int) -> None:
    """Where it is permitted (CAP_SYS_NICE). The daemon takes it back itself, before it starts threads and processes."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) - HURRY)
    except (PermissionError, ProcessLookupError):
        return


def reap_orphans(daemons: set[int]) -> None:
    """Takes away what dead daemons left behind, where that is ours to do: as the first process of a container."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in daemons:  # theirs is told by a pidfd, and their status is wanted
            return
        os.waitpid(ended.si_pid, os.WNOHANG)


def read_oom_score_adj() -> str:
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        return file.read().strip()


def write_oom_score_adj(pid: int, value: str) -> bool:
    """False where it is not permitted (a lower one needs CAP_SYS_RESOURCE), or the process has ended."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write(value)
    except OSError:
        return False
    return True
