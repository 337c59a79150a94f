"""ossmount as a peer: the commands of this checkout, as a user types them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import mounts
from benchmarks.access import Place
from benchmarks.peers import MOUNT_LIMIT, Mounted, MountFailed, Target, environment
from benchmarks.processes import CHECKOUT, end, kill_when_left, own_environment

UMOUNT_LIMIT = 30.0  # seconds


@dataclass(frozen=True)
class OwnPeer:
    """`ossmount mount`, which returns once the mount answers and leaves a daemon behind."""

    name: str
    options: tuple[str, ...] = ()
    kind: str = "own"

    def missing(self) -> str:
        return "" if Path("/dev/fuse").exists() else "/dev/fuse is not there: load the kernel's fuse module"

    @contextlib.contextmanager
    def mounted(self, target: Target) -> Iterator[Mounted]:
        variables = {**environment(target, own_environment()), "OSSMOUNT_STATE_DIR": str(target.scratch / "state")}
        mountpoint = str(target.mountpoint)
        # What is known of names outlives a mount: without a folder of its own the next mount would not be cold.
        own_folder = ("--metadata-dir", str(target.scratch / "metadata"))
        command = ["mount", f"oss://{target.bucket}", mountpoint, "--endpoint", target.url, *own_folder, *self.options]
        with contextlib.ExitStack() as stack:
            pids: list[int] = []
            stack.callback(self._unmount, target, variables, pids)
            began = time.monotonic()
            said = _ossmount(command, variables, MOUNT_LIMIT)
            if said.returncode != 0:
                raise MountFailed(f"exit code {said.returncode}: {said.stderr.strip()[-2_000:]}")
            if not mounts.answers(target.mountpoint, MOUNT_LIMIT):
                raise MountFailed(f"{mountpoint} does not answer")
            seconds = time.monotonic() - began
            pids += _pids(_ossmount(["status", mountpoint, "--json"], variables, MOUNT_LIMIT).stdout)
            if not pids:
                raise MountFailed("ossmount status --json names no pids")
            yield Mounted(Place(mountpoint), lambda: pids, seconds, lambda keys: _telling(target, variables, keys))

    def _unmount(self, target: Target, variables: Mapping[str, str], pids: list[int]) -> None:
        if mounts.device_of(target.mountpoint):
            with contextlib.suppress(subprocess.TimeoutExpired):  # what follows ends it
                _ossmount(["umount", str(target.mountpoint)], variables, UMOUNT_LIMIT)
        mounts.abort(target.mountpoint)
        kill_when_left(pids, UMOUNT_LIMIT)


@contextlib.contextmanager
def _telling(target: Target, variables: Mapping[str, str], keys: Sequence[str]) -> Iterator[None]:
    """Somebody tells the order with ossmount.hints while the context lasts."""
    order = target.scratch / "order"
    order.write_text("".join(f"{key}\n" for key in keys))
    telling = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.telling", str(target.mountpoint), str(order)],
        env=dict(variables),
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert telling.stdout is not None
        if telling.stdout.readline() != b"telling\n":
            raise RuntimeError("the mount cannot be told the order; the messages stand above")
        yield
    finally:
        end(telling)


def _ossmount(arguments: list[str], variables: Mapping[str, str], limit: float) -> subprocess.CompletedProcess[str]:
    """Runs the command line of this checkout. Output goes through files: a daemon that keeps a pipe open must not hang us."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        done = subprocess.run(
            [sys.executable, "-m", "ossmount", *arguments],
            env=dict(variables),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=limit,
            start_new_session=True,
            check=False,
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())


def _pids(text: str) -> list[int]:
    """The pids in the answer of `ossmount status --json`, whether it is one mount or a list of them."""
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise MountFailed(f"ossmount status --json: {text.strip()[:500]!r} is no JSON") from error
    mounts_ = value.get("mounts", [value]) if isinstance(value, dict) else value
    return [int(pid) for mount in mounts_ for pid in mount.get("pids", [])]


def known(options: tuple[str, ...] = ()) -> list[OwnPeer]:
    """ossmount over each of its channels; options are passed to `ossmount mount`."""
    return [OwnPeer("ossmount", options), OwnPeer("ossmount-pyfuse3", ("--channel", "pyfuse3", *options))]
