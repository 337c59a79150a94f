"""The keeper's loop: who serves, who comes next, and what becomes of a mount whose daemons die.

One thread, one poll(). While nothing happens it wakes up once a second, for the daemon's heartbeat.

    serving ── dies ──→ RESEND, successor started ── ready ──→ serving
       │                          └─ dies before it served: again, after a pause; the fifth time: failed (all is EIO)
       ├── restart ──→ a replacement prepares itself ── prepared ──→ the old one is told to leave ── left ──→ it takes over
       └── end ──→ the device is closed
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable

from ossmount.keeper import kernel, mounts, wire
from ossmount.keeper.backing import Backings
from ossmount.keeper.control import Client, Control
from ossmount.keeper.daemon import HALF_DEAD, Daemon, reap_orphans, spawn
from ossmount.keeper.elsewhere import AGAIN, NoStarter
from ossmount.keeper.guard import Guard, hand_down
from ossmount.keeper.handover import Handover
from ossmount.keeper.notify import Notify
from ossmount.keeper.plan import Plan
from ossmount.keeper.report import Report, log
from ossmount.keeper.signals import STOP_SIGNALS, catch

PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)  # seconds before the next try, after so many daemons that died before they served
PATIENCE = 2  # stop signals that are handed on; one more kills the daemon
STOPPING = 45.0  # seconds from the first of them until a daemon that has not ended is killed


class Keeper:
    """The keeper of one connection."""

    def __init__(self, plan: Plan, alive: tuple[int, int], journal: int, oom: str, guard: Guard | None = None) -> None:
        """alive: both ends of the pipe that ends when nobody is left to serve; oom: what daemons have by right."""
        self._plan, self._alive, self._journal = plan, alive, journal
        self._oom = oom
        self._guard = guard
        self._device = -1
        self._agreement: object = None
        self._backings = Backings() if guard is None else guard.backings()
        self._current: Daemon | None = None
        self._coming: Daemon | None = None  # a replacement that prepares itself while the current one serves
        self._past: list[Daemon] = []  # that serve no more and have not ended yet
        self._handover = Handover()  # from the current one to the coming one
        self._next = 0.0  # when the next try is due, while there is no current one
        self._tries = 0  # daemons in a row that died before they served
        self._died = False  # the last one did not leave
        self._deaths = self._restarts = 0
        self._awaited = False  # whether a starter is waited for
        self._failed = ""  # why no more daemons are started
        self._ended = False  # in order
        self._stops = 0
        self._stopped = 0.0  # when that was first asked for
        self._mounted = ""  # the device number of the mount
        self._client: Client | None = None  # who asked for a restart and waits for its end
        self._exit_code: int | None = None
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._report = Report(plan, self._watch)
        self._notify = Notify(os.environ if plan.greeting else {})
        self._control = Control(f"{plan.socket}{os.getpid()}.sock", self._watch, self._serve)
        catch(self._watch, self._signalled)

    # -- the loop

    def run(self) -> int:
        """Until the connection has ended; the exit code."""
        try:
            while self._exit_code is None:
                due = self._due()
                timeout = None if due is None else max(0.0, due - time.monotonic()) * 1000 + 1
                for descriptor, _ in self._poll.poll(timeout):
                    if (handler := self._handlers.get(descriptor)) is not None:
                        handler()
                self._look_at_the_time(due)
        finally:
            self._control.close()
        return self._exit_code

    def _watch(self, descriptor: int, handler: Callable[[], None] | None) -> None:
        if handler is not None:
            self._handlers[descriptor] = handler
            self._poll.register(descriptor, select.POLLIN)
        elif self._handlers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _due(self) -> float | None:
        """When something is to be done if nothing happens before."""
        dues = [daemon.due() for daemon in (self._current, self._coming) if daemon is not None]
        dues += [daemon.due() for daemon in self._past if not daemon.killed]
        dues += [due for due in (self._handover.due, self._next) if due]
        if self._stops and self._current is not None and not self._current.condemned:
            dues.append(self._stopped + STOPPING)
        return min(dues, default=None)

    def _look_at_the_time(self, due: float | None) -> None:
        now = time.monotonic()
        for daemon in (self._current, self._coming):
            if daemon is None:
                continue
            if due is not None and now > due + HALF_DEAD and not daemon.condemned:
                daemon.beat = now  # we did not run ourselves (a frozen cgroup): its silence says nothing
            if daemon.killed:
                if now >= daemon.due():
                    self._gone(daemon, "was killed and is still held in the kernel")
                    self._past.append(daemon)
            else:
                daemon.kill_if_dead(now)
        for daemon in self._past:
            daemon.kill_if_dead(now)
        if self._stops and self._current is not None and now >= self._stopped + STOPPING:
            self._current.condemn(f"did not end within {STOPPING:g} s")
        if self._handover.due and self._current is not None and now >= self._handover.due:
            log(f"daemon {self._current.pid} does not leave: it is killed", "WARNING")
            self._handover.close()
            self._current.kill()
        if self._next and now >= self._next:
            self.start()

    def adopt(self, daemon: Daemon, device: int, agreement: object, backings: Backings, *, serving: bool) -> None:
        """Keeps a daemon that runs already: the one that started this keeper."""
        self._current, self._device, self._agreement, self._backings = daemon, device, agreement, backings
        daemon.serving = serving
        self._introduce(daemon)

    def _spawn(self, plan: Plan, role: str) -> Daemon:
        daemon = spawn(plan, role, self._oom)
        self._awaited = False
        self._introduce(daemon)
        return daemon

    def _introduce(self, daemon: Daemon) -> None:
        device = (self._device,) if daemon.role == wire.SUCCESSOR else ()
        daemon.tell(
            "hello",
            (*self._alive, self._journal, *device),
            keeper=os.getpid(),
            socket=self._control.path,
            role=daemon.role,
            guard=self._guard.pid if self._guard is not None else 0,
            nice=os.getpriority(os.PRIO_PROCESS, 0),
            **self._inheritance(),
        )
        hand_down(self._guard, daemon)
        self._watch(daemon.connection.fileno(), lambda: self._hear(daemon))
        self._watch(daemon.pidfd, lambda: self._reap(daemon))

    def _inheritance(self) -> dict[str, object]:
        """What a daemon has from those before it."""
        counts = {"deaths": self._deaths, "restarts": self._restarts, "backings": [*self._backings.numbers]}
        return {"agreement": self._agreement, "after_death": self._died, **counts}

    def _hear(self, daemon: Daemon) -> None:
        """Takes all messages that there are."""
        while True:
            try:
                received = wire.receive(daemon.connection)
            except BlockingIOError:
                return None
            if received is None:
                return self._watch(daemon.connection.fileno(), None)  # its end is near; the pidfd tells of it
            daemon.beat = time.monotonic()
            if daemon is self._current and daemon.serving:
                self._notify.alive(daemon.beat)
            reap_orphans({one.pid for one in (self._current, self._coming, *self._past) if one is not None})
            message, descriptors = received
            self._take(daemon, message, descriptors)

    def _take(self, daemon: Daemon, message: dict[str, object], descriptors: list[int]) -> None:
        kind = message["kind"]
        if kind == "mounted":
            self._device, self._agreement = descriptors[0], message["agreement"]
        elif kind == "ready":
            daemon.serving = True
            self._tries = 0
            self._mounted = self._mounted or mounts.topmost(self._plan.mountpoint)[1]
            if self._coming is None:  # else a restart is waited for
                self._answer(pid=daemon.pid)
            self._notify.ready(f"daemon {daemon.pid} serves {self._plan.mountpoint}")
        elif kind == "prepared":
            daemon.prepared = True
            self._replace()
        elif kind == "refused":
            daemon.why = str(message["message"])
        elif kind in ("back", "unback"):
            # One that serves no more is not heard: its successor has counted the numbers.
            self._backings.serve(self._device if daemon is self._current else -1, message, descriptors, daemon.tell)
        elif kind == "left" and daemon is self._current:
            daemon.left = time.monotonic()
            self._past.append(daemon)
            self._current, self._died = None, False
            self._hand_over()
        elif kind == "end":
            self._ended = True
            self._close_device()
        elif kind in ("mount", "read_ahead", "detach") and self._guard is not None:
            self._guard.take(daemon, message, descriptors, self._watch)

    def _close_device(self) -> None:
        if self._device >= 0:
            self._watch(self._device, None)
            os.close(self._device)
            self._device = -1

    def _reap(self, daemon: Daemon) -> None:
        """A daemon has ended."""
        self._hear(daemon)  # what it said before
        self._watch(daemon.connection.fileno(), None)
        self._watch(daemon.pidfd, None)
        how = daemon.reap()
        if daemon in self._past:
            self._past.remove(daemon)
            if daemon.killed and self._device >= 0:
                kernel.resend(self._device)  # what it was just reading when its successor began
        else:
            self._gone(daemon, how)

    def _gone(self, daemon: Daemon, how: str) -> None:
        """Whoever served or was to serve is gone."""
        if daemon is self._coming:
            self._coming = None
            self._answer(error=daemon.why or f"the new daemon {how} before it was ready; the log says more")
            if self._current is None and not self._ended:
                self._after_death(daemon, how)
            return
        self._current = None
        self._handover.close()
        if self._ended:
            self._finish(self._report.code or 0)
        elif self._device < 0:
            self._finish(self._report.finish())
        elif self._stops:
            self._finish(1)
        else:
            self._after_death(daemon, how)

    def _after_death(self, daemon: Daemon, how: str) -> None:
        self._deaths += 1
        self._died = True
        log(f"daemon {daemon.pid} {daemon.why or how}{'' if daemon.serving else ', before it served'}", "ERROR")
        self._tries += not daemon.serving
        if self._coming is not None:
            self._replace()
        else:
            self._answer(error=daemon.why or f"the new daemon {how} before it served; the log says more")
            self._try_again(f"{self._tries} daemons in a row died before they served; the last one {how}")

    def _try_again(self, why: str) -> None:
        """After a pause; why: what is said when it was tried often enough."""
        if self._device >= 0 and self._tries < len(PAUSES):
            self._next = time.monotonic() + PAUSES[self._tries]
        else:
            self._fail(why)

    def start(self) -> None:
        """The first daemon, which mounts; or the next one on the same device, for which what was in hand comes once more."""
        self._next = 0.0
        if self._device >= 0 and kernel.has_ended(self._device):  # unmounted: no daemon would come as far as to notice
            return self._finish(1)
        try:
            if self._device < 0:
                self._current = self._spawn(self._plan, wire.FIRST)
                self._report.handed_on(self._plan)
            else:
                kernel.resend(self._device)
                self._current = self._spawn(self._plan, wire.SUCCESSOR)
        except NoStarter as error:
            # Its container is being replaced, which may take long and says nothing against the next daemon.
            if not self._awaited:
                log(f"no daemon can be started yet: {error}", "WARNING")
            self._awaited = True
            self._next = time.monotonic() + AGAIN
        except OSError as error:
            self._tries += 1
            log(f"no daemon can be started: {error}", "ERROR")
            self._try_again(f"no daemon can be started: {error}")

    def _fail(self, why: str) -> None:
        """No more tries: whoever reads is told so, until the mount is taken away or `ossmount restart` helps."""
        if self._device < 0:
            self._finish(self._report.finish())
            return
        self._failed = why
        self._answer(error=why)
        log(f"the mount has failed: {why}. All requests fail with EIO from now on", "ERROR")
        kernel.resend(self._device)
        self._watch(self._device, self._refuse)

    def _refuse(self) -> None:
        if not kernel.refuse(self._device, errno.EIO):
            self._finish(1)

    def _serve(self, request: dict[str, object], client: Client) -> None:
        command = request.get("command")
        if command == "status":
            client.answer(**self._status())
        elif command == "order":
            client.answer(order=self._plan.order)
        elif command == "restart":
            self._restart(request, client)
        else:
            client.answer(error=f"unknown command {command!r}; there are: order, restart, status")

    def _status(self) -> dict[str, object]:
        state = "failed" if self._failed else "serving" if self._current is not None and self._current.serving else "restarting"
        return {
            "state": state,
            "problem": self._failed,
            "daemon_pid": None if self._current is None else self._current.pid,
            "deaths": self._deaths,
            "restarts": self._restarts,
        }

    def _restart(self, request: dict[str, object], client: Client) -> None:
        if self._device < 0 or self._ended or self._stops:
            client.answer(error="the mount is just beginning or ending")
            return
        if self._client is not None or self._coming is not None:
            client.answer(error="it is just being restarted")
            return
        argv, order, environment = request.get("argv"), request.get("order"), request.get("environment")
        if not (isinstance(argv, list) and argv and isinstance(order, str) and isinstance(environment, dict)):
            client.answer(error="restart needs argv, order and environment")
            return
        plan = self._plan.changed(argv=[*map(str, argv)], order=order, environment=environment)
        self._client = client
        if self._current is not None:
            try:
                self._coming = self._spawn(plan, wire.REPLACEMENT)
            except OSError as error:
                self._answer(error=f"no daemon can be started: {error}")
            return
        # none serves: the new one is tried at once
        self._plan, self._failed, self._tries, self._next = plan, "", 0, time.monotonic()
        self._watch(self._device, None)
        self._restarts += 1

    def _answer(self, **fields: object) -> None:
        if self._client is not None:
            self._client.answer(**fields)
            self._client = None

    def _replace(self) -> None:
        """The replacement takes over, as soon as both it and the current one are so far."""
        if self._coming is None or not self._coming.prepared:
            return
        if self._current is None:
            self._hand_over()
        elif not self._handover.due:
            self._handover.begin(self._current)

    def _hand_over(self) -> None:
        daemon = self._coming
        if daemon is None or not daemon.prepared:  # it died meanwhile
            self._handover.close()
            self._next = time.monotonic()
            return
        self._current, self._coming, self._plan = daemon, None, daemon.plan
        self._tries = 0
        self._restarts += 1
        daemon.prepared = False
        daemon.started = time.monotonic()
        kernel.resend(self._device)
        self._handover.end(daemon, self._device, **self._inheritance())

    # -- signals, and the end

    def _signalled(self, number: int) -> None:
        if number in STOP_SIGNALS:
            self._stop(number)
        elif self._current is not None and self._current.serving:  # before, it would die of them
            self._current.signal(number)

    def _stop(self, number: int) -> None:
        """The daemon takes the mount away; one that does not is killed at the third signal, or after a while."""
        self._stops += 1
        self._stopped = self._stopped or time.monotonic()
        self._notify.stopping()
        if self._coming is not None:
            self._coming.kill()
        if self._current is None:
            self._finish(0)
        elif self._stops > PATIENCE:
            self._current.kill()
        else:
            self._current.signal(number)

    def _finish(self, code: int) -> None:
        """What no daemon could take away in order is taken away here, if that was asked for."""
        self._close_device()
        if self._stops and not self._ended and self._mounted:
            take_away = None if self._guard is None else self._guard.take_away
            mounts.detach(self._plan.mountpoint, self._mounted, self._plan.detach, take_away)
        self._exit_code = code
