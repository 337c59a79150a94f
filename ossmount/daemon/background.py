"""Starting the daemon as a process of its own. A new process, not a fork: nothing of the command survives in it."""

from __future__ import annotations

import os
import signal
import site
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import ossmount
from ossmount.control.registry import Registry
from ossmount.control.state import log_directory
from ossmount.daemon.choice import why_no_keeper
from ossmount.daemon.handshake import receive
from ossmount.daemon.keeping import daemon_words, keeper_words, plan_of
from ossmount.daemon.logs import open_log
from ossmount.daemon.order import Order
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.keeper.mounts import is_automounted
from ossmount.options.declarations import FUSE_FD

_END = 30.0  # seconds that a daemon may take to end when the command is interrupted


def start_daemon(order: Order, environ: Mapping[str, str], *, to_stderr: bool = False) -> int:
    """Starts a daemon, or its keeper, and waits until the mount answers; its pid. Raises CommandError; then it is gone too.

    to_stderr: it logs to our stderr and not to a file.
    """
    log = None if to_stderr else Registry(log_directory(order.state)).path(order.mountpoint, ".log")
    order = replace(order, log=str(log or ""))
    read_end, write_end = os.pipe()
    try:
        start = _spawn_daemon if why_no_keeper(order.settings) else _spawn_keeper
        process = start(order, environ, log, write_end)
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    try:
        report = receive(read_end)
        if report.code != ExitCode.OK:
            raise CommandError(ExitCode(report.code), report.message)
    except CommandError as error:
        process.wait()
        if error.code == ExitCode.UNEXPECTED and log is not None:
            raise CommandError(error.code, f"{error.message}; the log is {log}") from None
        raise
    except BaseException:
        _end(process)
        raise
    finally:
        os.close(read_end)
    return process.pid


def _spawn_keeper(order: Order, environ: Mapping[str, str], log: Path | None, write_end: int) -> subprocess.Popen[bytes]:
    plan = plan_of(order, report=write_end)
    descriptor = plan.write()
    log_end = os.dup(sys.stderr.fileno()) if log is None else open_log(log)
    try:
        return subprocess.Popen(
            keeper_words(descriptor, -1, order.mountpoint),
            stdin=subprocess.DEVNULL,
            stdout=log_end,
            stderr=log_end,
            start_new_session=not is_automounted(order.mountpoint),
            pass_fds=(descriptor, write_end, *plan.inherited),
            env=environment(environ),
        )
    finally:
        os.close(descriptor)
        os.close(log_end)


def _spawn_daemon(order: Order, environ: Mapping[str, str], log: Path | None, write_end: int) -> subprocess.Popen[bytes]:
    fuse_fd = order.settings[FUSE_FD]
    log_end = os.dup(sys.stderr.fileno()) if log is None else open_log(log)
    try:
        process = subprocess.Popen(
            [*daemon_words(order), str(write_end), "-1"],
            stdin=subprocess.PIPE,
            stdout=log_end,
            stderr=log_end,
            start_new_session=not is_automounted(order.mountpoint),
            pass_fds=(write_end,) if fuse_fd is None else (write_end, fuse_fd),
            env=environment(environ),
        )
    finally:
        os.close(log_end)
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(order.to_json().encode())
    return process


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The same environment; with the package on the path when it runs from a checkout, since the daemon leaves its folder.

    PYTHONDONTWRITEBYTECODE is not handed on: compiling everything anew at each mount costs more than all the rest of it.
    """
    home = str(Path(ossmount.__file__).parent.parent)
    paths = [os.path.abspath(path) for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if home not in paths and home not in (*site.getsitepackages(), site.getusersitepackages()):
        paths.insert(0, home)
    handed_on = {name: value for name, value in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**handed_on, "PYTHONPATH": os.pathsep.join(paths)} if paths else handed_on


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
