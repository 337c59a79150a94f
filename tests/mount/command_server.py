"""Commands of ossmount, each in a fork of one process that has imported them all: an import costs ten times what a fork does.

Run as `command_server.py DESCRIPTOR`. Each packet on that SOCK_SEQPACKET socket is one command: {argv, env, cwd, umask} as
JSON, with the descriptors of a stream, stdin, stdout and stderr. The stream gets its exit status as subprocess tells it, then
ends; when the other side closes it before, the command is killed. The server ends with its socket. It has one thread, so that
forks are safe.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback

from ossmount.cli.main import COMMANDS, main

_LARGEST = 1 << 18  # bytes of a packet
#: What commands import when they run, beside their own modules.
_LATER = ("ossmount.daemon.background", "ossmount.daemon.build", "ossmount.daemon.offline", "ossmount.doctor.store", "trio")


class Request:
    """One command as it was asked for."""

    def __init__(self, packet: bytes, descriptors: list[int]) -> None:
        value = json.loads(packet)
        self.argv: list[str] = value["argv"]
        self.environment: dict[str, str] = value["env"]
        self.folder: str = value["cwd"]
        self.umask: int = value["umask"]
        self.stream = socket.socket(fileno=descriptors[0])
        self.standard = descriptors[1:]

    def become(self) -> None:
        """Makes this process the command's, as if it had been started anew."""
        for place, descriptor in enumerate(self.standard):
            os.dup2(descriptor, place)
            os.close(descriptor)
        self.stream.close()
        os.umask(self.umask)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv = ["ossmount", *self.argv]

    def close(self) -> None:
        self.stream.close()
        for descriptor in self.standard:
            os.close(descriptor)


def serve(asked: socket.socket) -> Request | None:
    """Forks for each request. Returns it in the process that is to run it; None when the server ends."""
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    running: dict[int, tuple[int, socket.socket]] = {}  # by the descriptors of the process and of its stream
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == asked.fileno():
                packet, descriptors, _, _ = socket.recv_fds(asked, _LARGEST, 4)
                if not packet:
                    return None
                request = Request(packet, descriptors)
                pid = os.fork()
                if pid == 0:
                    asked.close()
                    return request
                process, stream = os.pidfd_open(pid), request.stream.dup()
                request.close()
                running[process] = running[stream.fileno()] = (pid, stream)
                poll.register(process, select.POLLIN)
                poll.register(stream, select.POLLIN)
            elif descriptor in running:
                pid, stream = running[descriptor]
                if descriptor == stream.fileno():  # nobody waits any more
                    poll.unregister(stream)
                    os.kill(pid, signal.SIGKILL)
                    continue
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(OSError):
                    stream.sendall(f"{code}\n".encode())
                for known in (descriptor, stream.fileno()):
                    with contextlib.suppress(KeyError):
                        poll.unregister(known)
                    del running[known]
                os.close(descriptor)
                stream.close()


def run(request: Request) -> int:
    """The command, as `python -m ossmount` runs it: its exit code."""
    request.become()
    try:
        code: object = main(request.argv)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    for name in (*(module for module, _ in COMMANDS.values()), *_LATER):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    wanted = serve(socket.socket(fileno=int(sys.argv[1])))
    if wanted is None:
        sys.exit(0)
    code = run(wanted)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code & 0xFF)
