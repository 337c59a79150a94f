"""Mounting through the real command line, and taking every mount away again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ossmount.channel.mounting import find_mount
from ossmount.emulator.server import EmulatedServer
from tests.mount.commanding import commander
from tests.options import deaf

LIMIT = 60.0  # seconds, against hanging only
NOBODY = 65534
ROOT = Path(__file__).parents[2]
BUCKET = "data"


def eventually(condition: Callable[[], object], what: str, *, limit: float = LIMIT) -> None:
    """Waits until the condition holds. limit: seconds, more than usual where processes start one after the other."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit:g} s: {what}")
        time.sleep(0.01)


def spoil(cache: Path, away: Path) -> None:
    """Moves a cache away and puts a file in its place, with which no daemon starts. A process that writes to it at this moment
    may make the folder anew."""
    eventually(lambda: cache.is_dir() and any(cache.iterdir()), "the disk processes have made it")
    cache.rename(away)
    while cache.is_dir():
        shutil.rmtree(cache, ignore_errors=True)
    cache.touch()
    assert cache.is_file()


def command(arguments: Sequence[str], python: str = sys.executable) -> list[str]:
    """Signals as a terminal starts programs with, whatever the tests were started with."""
    return ["/usr/bin/env", "--default-signal=INT,TERM,HUP", python, "-m", "ossmount", *arguments]


def python_path(*folders: str) -> str:
    """PYTHONPATH of these folders; before them the one that makes ossmount deaf to an option, where there is one."""
    return os.pathsep.join(filter(None, (os.environ.get(deaf.VARIABLE), *folders)))


def as_nobody(words: Sequence[str], *, readable: bool = False) -> list[str]:
    """The same command as another user. readable: who may read what root may, since the checkout may lie in root's home."""
    extra = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"] if readable else []
    return ["/usr/bin/setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *extra, *words]


_MAPPER = """
import json, mmap, os, sys
answer = []
for path, places in json.load(sys.stdin):
    descriptor = os.open(bytes.fromhex(path), os.O_RDONLY)
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as view:
        answer.append([view[start:end].hex() for start, end in places])
    os.close(descriptor)
json.dump(answer, sys.stdout)
"""


def read_mapped(wanted: Mapping[bytes, Sequence[tuple[int, int]]]) -> dict[bytes, list[bytes]]:
    """Bytes from mappings: by path, what lies from start to end. Files must not be empty.

    In a process of its own: a page fault holds the interpreter lock, and the thread that serves the bucket needs it.
    """
    question = json.dumps([(path.hex(), list(places)) for path, places in wanted.items()])
    words = [sys.executable, "-I", "-c", _MAPPER]
    done = subprocess.run(words, input=question, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr}"
    return {
        path: [bytes.fromhex(piece) for piece in pieces] for path, pieces in zip(wanted, json.loads(done.stdout), strict=True)
    }


@dataclass
class Mount:
    """One mount that a test made."""

    workshop: Workshop
    path: Path
    process: subprocess.Popen[bytes] | None = None  # of a daemon in the foreground

    def status(self) -> dict[str, Any]:
        done = self.workshop.run("status", str(self.path), "--json")
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    @property
    def log(self) -> str:
        return self.workshop.log(self.path)


@dataclass
class Workshop:
    """A folder for one test: state, metadata, mountpoints, and the environment of the commands."""

    folder: Path
    server: EmulatedServer
    user: str = "root"
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OSS", "XDG_"))}
        kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)  # each command would compile all that it imports
        self.environment = {
            **kept,
            "PYTHONPATH": python_path(str(ROOT)),
            "OSS_ACCESS_KEY_ID": "test-id",
            "OSS_ACCESS_KEY_SECRET": "test-secret",
            "OSSMOUNT_ENDPOINT": self.server.url,
            "OSSMOUNT_MEMORY_LIMIT": "32M",
            "OSSMOUNT_METADATA_DIR": str(self.folder / "metadata"),
            "OSSMOUNT_STATE_DIR": str(self.folder / "state"),
            "OSSMOUNT_FETCH_WORKERS": "1",
            "OSSMOUNT_TIMEOUT": "30",
            "OSSMOUNT_HEDGE_ABOVE": "inf",  # on a busy machine requests would be made twice, and tests count them
        }

    def words(self, arguments: Sequence[str]) -> list[str]:
        words = command(arguments, self.python)
        return words if self.user == "root" else as_nobody(words, readable=True)

    def run(self, *arguments: str, env: Mapping[str, str | None] | None = None) -> subprocess.CompletedProcess[str]:
        """One command, to its end: where nothing speaks against it in a fork, whose start costs a tenth of the CPU time."""
        environment = self.changed(env)
        # not as another user, with another Python, or with limits that words() puts before the command
        usual = self.words(arguments) == command(arguments) and deaf.VARIABLE not in os.environ
        if usual and commander().can(environment):
            return commander().run(arguments, environment, self.folder, LIMIT)
        return self.run_anew(*arguments, env=env)

    def run_anew(self, *arguments: str, env: Mapping[str, str | None] | None = None) -> subprocess.CompletedProcess[str]:
        """The same in an interpreter of its own, as users run it."""
        return subprocess.run(
            self.words(arguments),
            env=self.changed(env),
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=LIMIT,
            check=False,
            cwd=self.folder,
        )

    def changed(self, env: Mapping[str, str | None] | None) -> dict[str, str]:
        merged: dict[str, str | None] = {**self.environment, **(env or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def mountpoint(self, name: str = "mount") -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        path.chmod(0o755)  # whatever the umask
        if self.user != "root":
            os.chown(path, NOBODY, NOBODY)
        return path

    def log(self, path: Path) -> str:
        """What the daemon has logged: for the message of a test that fails."""
        logs = [*(self.folder / "state").glob("*.log"), *self.folder.glob("foreground-*.log")]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')}" for log in logs)

    @contextlib.contextmanager
    def mounted(
        self,
        *arguments: str,
        source: str = f"oss://{BUCKET}",
        name: str = "mount",
        foreground: bool = False,
        anew: bool = False,
        env: Mapping[str, str | None] | None = None,
    ) -> Iterator[Mount]:
        """Mounts, and unmounts whatever happens; a test that fails shows the daemon's log. anew: see run_anew()."""
        path = self.mountpoint(name)
        mount = Mount(self, path)
        try:
            if foreground:
                mount.process = self._start_in_foreground([source, str(path), *arguments], env)
            else:
                run = self.run_anew if anew else self.run
                done = run("mount", source, str(path), *arguments, env=env)
                assert done.returncode == 0, f"mount failed with {done.returncode}: {done.stderr}"
            yield mount
        except BaseException as failure:
            print(f"The daemon's log:\n{self.log(path)}\n({type(failure).__name__} in the test)")
            self.take_away(mount, check=False)
            raise
        self.take_away(mount, check=True)

    def _start_in_foreground(self, arguments: Sequence[str], env: Mapping[str, str | None] | None) -> subprocess.Popen[bytes]:
        log = self.folder / f"foreground-{len(list(self.folder.glob('foreground-*')))}.log"
        with open(log, "wb") as file:
            words = self.words(["mount", "--foreground", *arguments])
            process = subprocess.Popen(words, env=self.changed(env), stdout=file, stderr=file, cwd=self.folder)
        eventually(lambda: b"is mounted at" in log.read_bytes() or process.poll() is not None, "the mount is ready")
        if process.poll() is not None:
            raise AssertionError(f"mount ended with {process.returncode}: {log.read_text(errors='replace')}")
        return process

    def take_away(self, mount: Mount, *, check: bool) -> None:
        """Unmounts, gently first, and ends the daemon. Only what this test made is touched."""
        try:
            still = find_mount(str(mount.path)) is not None
            if still:
                done = self.run("umount", str(mount.path))
                if check and done.returncode:
                    raise AssertionError(f"umount failed with {done.returncode}: {done.stderr}\n{self.log(mount.path)}")
        finally:
            if find_mount(str(mount.path)) is not None:
                self.run("umount", "--force", str(mount.path))
            if find_mount(str(mount.path)) is not None:
                subprocess.run(["umount", "--lazy", str(mount.path)], check=False, timeout=LIMIT)
            self._end_daemons(mount)

    def _end_daemons(self, mount: Mount) -> None:
        if mount.process is not None:
            try:
                mount.process.wait(LIMIT / 2)
            except subprocess.TimeoutExpired:
                mount.process.kill()
                mount.process.wait()
                raise AssertionError(f"the daemon in the foreground did not end\n{self.log(mount.path)}") from None
        for record in (self.folder / "state").glob("*.json"):
            value = json.loads(record.read_text())
            if value["mountpoint"] == str(mount.path):
                for pid in (value["keeper_pid"], value["pid"]):
                    if pid:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)


def fill(shop: Workshop, files: int, size: int = 20_000) -> None:
    """So many files of so many bytes, in a folder "files"."""
    data = os.urandom(size)
    for number in range(files):
        shop.server.store.put(BUCKET, b"files/%04d" % number, data)


def read_all(mount: Mount, readers: int = 8) -> None:
    """Reads each of them once; failures of reads are not ours to judge."""

    def read(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.read_bytes()

    with ThreadPoolExecutor(readers) as pool:
        list(pool.map(read, sorted((mount.path / "files").iterdir())))


@contextlib.contextmanager
def device_for_all() -> Iterator[None]:
    """/dev/fuse with the mode that udev gives it; a container without udev may have it for root only.

    Tests that run at the same time share it: the first one writes down the mode that was, the last one gives it back.
    """
    with open(Path(tempfile.gettempdir(), "ossmount-test-device"), "a+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        before = int(lock.read() or stat.S_IMODE(os.stat("/dev/fuse").st_mode))
        lock.truncate(0)
        print(before, file=lock, flush=True)
        os.chmod("/dev/fuse", before | 0o666)
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.chmod("/dev/fuse", before)
                lock.truncate(0)


@contextlib.contextmanager
def workshop(user: str = "root") -> Iterator[Workshop]:
    """A workshop with a server of its own. Not in pytest's folder, which other users may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="ossmount-test-", dir="/tmp"))
    folder.chmod(0o755)
    device = contextlib.nullcontext() if user == "root" else device_for_all()
    try:
        with device, EmulatedServer(folder / "server") as server:
            server.store.create_bucket(BUCKET)
            made = Workshop(folder, server, user)
            for name in ("state", "metadata"):
                (folder / name).mkdir(mode=0o700)
                if user != "root":
                    os.chown(folder / name, NOBODY, NOBODY)
            yield made
    finally:
        left = [path for path in folder.iterdir() if find_mount(str(path)) is not None]
        if left:
            raise AssertionError(f"still mounted: {left}")
        shutil.rmtree(folder)


@contextlib.contextmanager
def for_everybody(shop: Workshop) -> Iterator[None]:
    """Commands of a workshop run from places that every user may read: the checkout and Python itself may lie in root's home.

    Bound read-only right below the workshop's folder, which is not removed while anything is mounted there.
    """
    packages = os.path.dirname(os.path.dirname(trio.__file__))
    places = {"python": sys.base_prefix, "packages": packages, "checkout": str(ROOT)}
    before, python = dict(shop.environment), shop.python
    bound = []
    try:
        for name, source in places.items():
            (shop.folder / name).mkdir()
            subprocess.run(["mount", "--bind", "-o", "ro", source, str(shop.folder / name)], check=True)
            bound.append(shop.folder / name)
        shop.environment["PYTHONPATH"] = python_path(f"{shop.folder}/checkout", f"{shop.folder}/packages")
        shop.environment["LD_LIBRARY_PATH"] = f"{shop.folder}/python/lib"
        shop.python = str(shop.folder / "python" / os.path.relpath(os.path.realpath(sys.executable), sys.base_prefix))
        yield
    finally:
        shop.environment, shop.python = before, python
        for path in bound:
            subprocess.run(["umount", "--lazy", str(path)], check=True)  # a process that just ends may still use it
