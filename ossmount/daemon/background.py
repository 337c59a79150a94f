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
from ossmount.daemon.handshake import receive
from ossmount.daemon.logs import open_log
from ossmount.daemon.order import Order
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options.declarations import FUSE_FD

_END = 30.0  # seconds that a daemon may take to end when the command is interrupted


def start_daemon(order: Order, environ: Mapping[str, str]) -> int:
    """Starts a daemon and waits until its mount answers; its pid. Raises CommandError; then the daemon is gone too."""
    log = Registry(order.state).path(order.mountpoint, ".log")
    order = replace(order, log=str(log))
    read_end, write_end = os.pipe()
    try:
        process = _spawn(order, environ, log, write_end)
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
        if error.code == ExitCode.UNEXPECTED:
            raise CommandError(error.code, f"{error.message}; the log is {log}") from None
        raise
    except BaseException:
        _end(process)
        raise
    finally:
        os.close(read_end)
    return process.pid


def _spawn(order: Order, environ: Mapping[str, str], log: Path, write_end: int) -> subprocess.Popen[bytes]:
    fuse_fd = order.settings[FUSE_FD]
    log_end = open_log(log)
    try:
        # The source and the mountpoint stand in argv for whoever looks at the list of processes.
        process = subprocess.Popen(
            [sys.executable, "-m", "ossmount.daemon", str(order.source), order.mountpoint, str(write_end)],
            stdin=subprocess.PIPE,
            stdout=log_end,
            stderr=log_end,
            start_new_session=True,
            pass_fds=(write_end,) if fuse_fd is None else (write_end, fuse_fd),
            env=_environment(environ),
        )
    finally:
        os.close(log_end)
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(order.to_json().encode())
    return process


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
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
