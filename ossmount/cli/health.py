"""`ossmount status --health` and `--ready`: one line and an exit code, for probes of containers."""

from __future__ import annotations

import json

from ossmount.channel.mounting import find_mount
from ossmount.control.client import ControlError, ask
from ossmount.control.registry import Record, Registry
from ossmount.exit_codes import CommandError, ExitCode

_ALIVE = 2.0  # seconds for a sign of life
_READY = 8.0  # seconds for the daemon to ask OSS, where it has not heard of it for a while


def run(registry: Registry, mountpoint: str, *, ready: bool, as_json: bool) -> int:
    """OK, or raises CommandError with what is the matter."""
    name = "ready" if ready else "healthy"
    try:
        state = _look(registry, mountpoint, ready=ready)
    except CommandError as error:
        if as_json:
            print(json.dumps({name: False, "problem": error.message, "code": int(error.code)}))
        raise
    print(json.dumps({name: True, "state": state}) if as_json else state)
    return ExitCode.OK


def _look(registry: Registry, mountpoint: str, *, ready: bool) -> str:
    """How it is when it is well. Raises CommandError."""
    record = registry.find(mountpoint)
    if record is None or find_mount(mountpoint) is None:
        raise CommandError(ExitCode.NOT_MOUNTED, f"{mountpoint}: not mounted")
    if record.keeper_pid:
        restarting = _keeper_restarts(record)
        if restarting and ready:
            raise CommandError(ExitCode.NOT_MOUNTED, f"{mountpoint}: its daemon is being replaced")
        if restarting:
            return "alive: the keeper is replacing the daemon"
    try:
        answer = ask(record.socket, "health", timeout=_READY if ready else _ALIVE, ready=ready)
    except ControlError as error:
        raise CommandError(ExitCode.NOT_MOUNTED, f"{mountpoint}: {error}") from None
    if not ready:
        return "alive"
    if not answer["reachable"]:
        raise CommandError(ExitCode(answer["code"]), f"{mountpoint}: OSS does not serve this mount: {answer['problem']}")
    return "ready"


def _keeper_restarts(record: Record) -> bool:
    """Whether the keeper lives and starts another daemon just now. Raises CommandError when it is dead or has given up."""
    try:
        answer = ask(record.keeper_socket, "status", timeout=_ALIVE)
    except ControlError as error:
        raise CommandError(ExitCode.NOT_MOUNTED, f"{record.mountpoint}: its keeper: {error}") from None
    if answer["state"] == "failed":
        raise CommandError(ExitCode.NOT_MOUNTED, f"{record.mountpoint}: {answer['problem']}")
    return bool(answer["state"] == "restarting")
