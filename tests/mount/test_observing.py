"""A person looks at a mount: top over a terminal, explain in situations that are made on purpose, probes of containers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ossmount.emulator.faults import Fault
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually, fill, read_all


def explained(mount: Mount) -> list[dict[str, Any]]:
    done = mount.workshop.run("explain", str(mount.path), "--since-mount", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


def names(mount: Mount) -> list[str]:
    return [finding["name"] for finding in explained(mount)]


# -- explain


def test_a_store_that_is_slow_to_answer(plain_shop: Workshop) -> None:
    fill(plain_shop, 60)
    with plain_shop.mounted() as mount:
        plain_shop.server.faults.add(Fault(operations=("GET",), latency=0.3))
        read_all(mount)
        assert "slow_store" in names(mount)
        text = plain_shop.run("explain", str(mount.path)).stdout
        assert "Reads wait for OSS, which is slow to answer." in text and "--endpoint" in text


def test_credentials_that_expired(plain_shop: Workshop) -> None:
    fill(plain_shop, 10)
    with plain_shop.mounted() as mount:
        plain_shop.server.faults.add(Fault(operations=("GET",), code="SecurityTokenExpired"))
        read_all(mount)
        first = explained(mount)[0]
        assert first["name"] == "credentials"
        assert mount.status()["facts"]["channel"]["errors"]["EACCES"] >= 10
        text = plain_shop.run("status", str(mount.path)).stdout
        assert "health    OSS refuses the credentials." in text and "EACCES" in text


@pytest.mark.option("memory_limit")
def test_too_little_memory_for_many_readers(plain_shop: Workshop) -> None:
    data = os.urandom(6 << 20)
    for number in range(16):
        plain_shop.server.store.put(BUCKET, b"files/%02d" % number, data)
    with plain_shop.mounted("--memory-limit", "16M") as mount:
        descriptors = [os.open(path, os.O_RDONLY) for path in sorted((mount.path / "files").iterdir())]
        try:
            with ThreadPoolExecutor(16) as pool:  # in turns, each a little further
                for offset in range(0, 4 << 20, 1 << 20):
                    list(pool.map(lambda fd, offset=offset: os.pread(fd, 1 << 20, offset), descriptors))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        assert "little_memory" in names(mount)


def test_names_that_expire_at_once(plain_shop: Workshop) -> None:
    fill(plain_shop, 30, size=10)
    with plain_shop.mounted("--attr-timeout", "0", "--entry-timeout", "0", "--metadata-ttl", "0") as mount:
        for _ in range(2):
            for path in (mount.path / "files").iterdir():
                path.stat()
        found = {finding["name"]: finding for finding in explained(mount)}
        assert "metadata_expires" in found
        assert any("--metadata-ttl" in text for text in found["metadata_expires"]["advice"])


@pytest.mark.stress
def test_a_limit_of_its_own(plain_shop: Workshop) -> None:
    fill(plain_shop, 60)
    with plain_shop.mounted("--limit-requests", "20") as mount:
        before = time.monotonic()
        read_all(mount)
        assert time.monotonic() - before > 1
        assert "limited" in names(mount)


@contextlib.contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.stress
def test_a_disk_that_is_slow(plain_shop: Workshop) -> None:
    """The processes of the cache stand still for a while, as they do in a disk that does not answer."""
    fill(plain_shop, 60, size=300_000)
    cache = plain_shop.folder / "cache"
    with plain_shop.mounted("--cache-dir", str(cache)) as mount:
        read_all(mount)
        eventually(lambda: mount.status()["facts"]["disk"]["writing"] == 0, "all is written")
    with plain_shop.mounted("--cache-dir", str(cache)) as mount:
        pids = mount.status()["facts"]["disk"]["pids"]
        with stopped(pids), ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read_all, mount, 32)
            eventually(lambda: mount.status()["facts"]["disk"]["reading"] >= 20, "readers wait for the disk")
            time.sleep(0.5)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            reading.result(LIMIT)
        assert "slow_disk" in names(mount)
        shown = plain_shop.run("top", str(mount.path), "--once").stdout
        assert "! The disk of the cache" in shown and "disk read " in shown


def test_nothing_is_wrong_and_one_look_lasts_as_long_as_asked_for(plain_shop: Workshop) -> None:
    fill(plain_shop, 5)
    with plain_shop.mounted() as mount:
        done = plain_shop.run("explain", str(mount.path), "--for", "200ms", "--json")
        answer = json.loads(done.stdout)
        assert [finding["name"] for finding in answer["findings"]] == ["idle"]
        assert 0.2 <= answer["seconds"] < LIMIT and answer["since_mount"] is False
        wrong = plain_shop.run("explain", str(mount.path), "--for", "soon")
        assert wrong.returncode == ExitCode.USAGE and "--for" in wrong.stderr
        nowhere = plain_shop.run("explain", str(plain_shop.folder))
        assert nowhere.returncode == ExitCode.NOT_MOUNTED


# -- top


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, words: list[str], environment: dict[str, str], rows: int = 50, columns: int = 110) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True)
        os.close(slave)
        self.shown = ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait_for(self, text: str) -> None:
        """Until the program has drawn a text (without the sequences that move the cursor and set colours)."""

        def drawn() -> bool:
            while select.select([self._master], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self._master, 65536).decode(errors="replace")
                except OSError:  # EIO: the program has ended
                    break
            plain = re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78])", "", self.shown)
            return text in plain

        eventually(drawn, f"the terminal shows {text!r}")


@pytest.fixture
def terminal_of(plain_shop: Workshop) -> Iterator[Any]:
    opened: list[Terminal] = []

    def start(*arguments: str, term: str) -> Terminal:
        terminal = Terminal(plain_shop.words(arguments), {**plain_shop.environment, "TERM": term})
        opened.append(terminal)
        return terminal

    yield start
    for terminal in opened:
        terminal.close()


def test_top_on_terminals_of_all_kinds_and_without_one(plain_shop: Workshop, terminal_of: Any) -> None:
    fill(plain_shop, 20)
    with plain_shop.mounted() as mount:
        read_all(mount)
        for term in ("xterm-256color", "tmux-256color", "vt100"):
            terminal = terminal_of("top", str(mount.path), "--interval", "0.2", term=term)
            for text in ("throughput", "OSS GET", "q ends"):
                terminal.wait_for(text)
            terminal.press(b"a")
            terminal.wait_for("since this daemon began")
            terminal.press(b"q")
            assert terminal.process.wait(LIMIT) == 0
            assert "Traceback" not in terminal.shown
        terminal = terminal_of("top", str(mount.path), term="no-such-terminal")
        terminal.wait_for("give --once, or set TERM")
        assert terminal.process.wait(LIMIT) == ExitCode.USAGE
        done = plain_shop.run("top", str(mount.path))
        assert done.returncode == ExitCode.USAGE and "--once" in done.stderr

        done = plain_shop.run("top", str(mount.path), "--once", "--price", "1,5")
        assert done.returncode == 0, done.stderr
        for title in ("throughput", "latency", "requests", "caches", "prefetch", "memory", "cpu", "errors", "credentials"):
            assert f"\n{title} " in done.stdout
        assert "READ" in done.stdout and "list prices" not in done.stdout
        assert plain_shop.run("top", str(mount.path), "--price", "much").returncode == ExitCode.USAGE
        words = plain_shop.words(["top", str(mount.path), "--json", "--interval", "0.2"])
        stream = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=plain_shop.environment)
        try:
            assert stream.stdout is not None
            lines = [json.loads(stream.stdout.readline()) for _ in range(2)]
            stream.send_signal(signal.SIGINT)
            stream.communicate(timeout=LIMIT)
        finally:
            stream.kill()
            stream.wait()
        assert all(line["seconds"] >= 0.2 and "bytes_to_kernel" in line for line in lines)


# -- probes


def probe(mount: Mount, flag: str) -> subprocess.CompletedProcess[str]:
    return mount.workshop.run("status", flag, str(mount.path))


def test_health_is_about_the_processes_and_readiness_about_oss_too(plain_shop: Workshop) -> None:
    with plain_shop.mounted() as mount:
        assert (probe(mount, "--health").returncode, probe(mount, "--ready").returncode) == (0, 0)
        plain_shop.server.faults.add(Fault(code="AccessDenied"))
        with pytest.raises(OSError):
            os.stat(mount.path / "unknown")
        refused = probe(mount, "--ready")
        assert refused.returncode == ExitCode.REFUSED and "OSS does not serve this mount" in refused.stderr
        assert probe(mount, "--health").returncode == 0
        plain_shop.server.faults.clear()
        eventually(lambda: probe(mount, "--ready").returncode == 0, "OSS answers again")
        status = mount.status()
        os.kill(status["daemon_pid"], signal.SIGKILL)
        eventually(lambda: "alive" in probe(mount, "--health").stdout, "another daemon lives")
        eventually(lambda: mount.status()["daemon_pid"] != status["daemon_pid"], "another daemon serves")
    assert probe(mount, "--health").returncode == ExitCode.NOT_MOUNTED


def test_a_daemon_that_stands_still_is_not_healthy(plain_shop: Workshop) -> None:
    with plain_shop.mounted("--no-keeper") as mount, stopped([mount.status()["daemon_pid"]]):
        done = probe(mount, "--health")
        assert done.returncode == ExitCode.NOT_MOUNTED
        assert "does not answer" in done.stderr


def test_these_commands_load_neither_trio_nor_oss2(plain_shop: Workshop) -> None:
    with plain_shop.mounted() as mount:
        for command, *extra in (("status", "--health"), ("status",), ("top", "--once"), ("explain",)):
            code = "import sys; from ossmount.cli.main import main; main(sys.argv[1:]); "
            code += "print([name for name in ('trio', 'oss2', 'prometheus_client', 'lmdb') if name in sys.modules])"
            words = [sys.executable, "-c", code, command, str(mount.path), *extra]
            done = subprocess.run(words, env=plain_shop.environment, capture_output=True, text=True, timeout=LIMIT, check=True)
            assert done.stdout.splitlines()[-1] == "[]", command
