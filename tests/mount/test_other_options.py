"""Options that no other module of tests is about."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ossmount.channel.mounting import find_mount
from ossmount.emulator.faults import Fault
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, Mount, Workshop, eventually

MIB = 1 << 20
MANY = 120  # requests, from which on the mount knows how long 99 of 100 take


def usual_piece(shop: Workshop, *arguments: str) -> int:
    """Bytes of the largest GETs of a file that is read from its beginning to its end, but for the first ones."""
    shop.server.requests.clear()
    with shop.mounted("--memory-limit", "128M", *arguments) as mount, (mount.path / "big").open("rb", buffering=0) as file:
        while file.read(MIB):
            pass
    sizes = sorted(entry.sent for entry in shop.server.requests.select("GET", b"big"))
    assert sum(sizes) >= 16 * MIB
    return sizes[-3]


@pytest.mark.option("readahead_size")
def test_what_is_fetched_ahead_comes_in_pieces_of_the_readahead_size(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"big", bytes(16 * MIB))
    assert usual_piece(plain_shop, "--readahead-size", "256K") <= 300 << 10 < usual_piece(plain_shop)


@pytest.mark.option("connections")
def test_no_more_connections_than_connections(plain_shop: Workshop) -> None:
    names = [f"file-{number}" for number in range(24)]
    for name in names:
        plain_shop.server.store.put(BUCKET, name.encode(), bytes(4096))
    plain_shop.server.faults.add(Fault(operations=("GET",), latency=0.02))

    def used(*arguments: str) -> int:
        with plain_shop.mounted(*arguments) as mount:
            assert len(os.listdir(mount.path)) == len(names)
            plain_shop.server.requests.clear()
            readers = [threading.Thread(target=(mount.path / name).read_bytes) for name in names]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            made = plain_shop.server.requests.select("GET")
            assert len(made) >= len(names)
            return len({entry.client for entry in made})

    assert used("--connections", "2") <= 2 < used("--connections", "32")


@pytest.mark.option("read_ahead_kb")
def test_the_readahead_of_the_kernel_is_as_asked_for(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"file", b"x")
    with plain_shop.mounted("-o", "read_ahead_kb=512") as mount:
        mounted = find_mount(str(mount.path))
        assert mounted is not None
        assert Path(f"/sys/class/bdi/{mounted.device}/read_ahead_kb").read_text().strip() == "512"
        assert mount.status()["facts"]["channel"]["read_ahead_kb"] == 512


@pytest.mark.option("connect_timeout")
def test_an_endpoint_that_takes_no_connection_is_given_up_after_the_connect_timeout(plain_shop: Workshop) -> None:
    """A socket with a full backlog answers no SYN. Three attempts of 5 s each, the default, would last until the timeout."""
    with contextlib.ExitStack() as opened:
        full = opened.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):
            filler = opened.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        words = ["--endpoint", url, "--connect-timeout", "200ms", "--timeout", "14"]
        done = plain_shop.run("mount", f"oss://{BUCKET}", str(plain_shop.mountpoint()), *words)
    assert done.returncode == ExitCode.UNREACHABLE
    assert f"{url} does not answer in time" in done.stderr and "--timeout" not in done.stderr


@pytest.mark.option("log_level")
def test_the_log_has_no_more_than_its_level_lets_through(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"file", b"x")
    with plain_shop.mounted("--log-level", "error", name="quiet") as mount:
        assert " INFO " not in mount.log
    with plain_shop.mounted("--log-level", "debug", name="chatty") as mount:
        os.listdir(mount.path)
        eventually(lambda: re.search(r" DEBUG .* LIST.*: HTTP 200 in \d+ ms", mount.log), "requests are logged")


@pytest.mark.option("timeout")
def test_a_read_fails_after_the_timeout(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"file", bytes(5000))
    with plain_shop.mounted("--timeout", "2") as mount:
        assert os.listdir(mount.path) == ["file"]
        plain_shop.server.faults.add(Fault(operations=("GET",), hang=True))
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            (mount.path / "file").read_bytes()
        assert time.monotonic() - begin < 25, "by default a read may take 60 s"


@pytest.mark.option("readahead_count")
def test_without_pieces_ahead_nothing_is_fetched_ahead(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"big", bytes(8 * MIB))

    def ahead(*arguments: str) -> int:
        with plain_shop.mounted(*arguments) as mount:
            assert len((mount.path / "big").read_bytes()) == 8 * MIB
            return int(mount.status()["facts"]["data"]["fetched_ahead"])

    assert ahead("--readahead-count", "0") == 0 < ahead()


@pytest.mark.stress
@pytest.mark.option("hedge_above")
def test_with_hedging_off_a_late_request_is_made_once(plain_shop: Workshop) -> None:
    for number in range(MANY):
        plain_shop.server.store.put(BUCKET, b"quick/%03d" % number, b"q")
    plain_shop.server.store.put(BUCKET, b"late", b"l")
    plain_shop.server.faults.add(Fault(operations=("GetObject",), keys="late", latency=3.0))
    with plain_shop.mounted("--hedge-above", "inf", "-o", "readahead_count=0") as mount:
        for number in range(MANY):
            assert (mount.path / f"quick/{number:03}").read_bytes() == b"q"
        assert (mount.path / "late").read_bytes() == b"l"
        assert mount.status()["facts"]["fetch"]["hedged"] == 0
    assert plain_shop.server.requests.count("GET", b"late") == 1


@pytest.mark.option("cache_free_space")
def test_the_cache_leaves_as_much_of_the_disk_free_as_it_is_told(plain_shop: Workshop) -> None:
    """A disk of 8 MiB, an eighth of which the file takes."""
    plain_shop.server.store.put(BUCKET, b"file", os.urandom(MIB))
    disk = plain_shop.mountpoint("disk")

    def told(*words: str) -> Any:
        done = plain_shop.run("cache", *words, "--cache-dir", str(disk), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], check=True)
    try:
        with plain_shop.mounted("--cache-dir", str(disk)) as mount:
            (mount.path / "file").read_bytes()
            eventually(lambda: mount.status()["facts"]["disk"]["writing"] == 0, "it is written")
        assert told("usage")[0]["objects"] == 1
        assert told("prune")["objects"] == 0
        assert told("prune", "--cache-free-space", "95")["objects"] == 1
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def kernel_requests(mount: Mount, name: str) -> int:
    return int(mount.status()["counters"]["kernel"].get(name, 0))


@pytest.mark.option("channel", "max_background")
def test_what_is_agreed_with_the_kernel(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"file", b"x")
    with plain_shop.mounted("--max-background", "7") as mount:
        status = mount.status()
        assert status["channel"] == "kernel" and status["facts"]["channel"]["max_background"] == 7
    with plain_shop.mounted("--channel", "pyfuse3") as mount:
        assert mount.status()["channel"] == "pyfuse3"
        assert (mount.path / "file").read_bytes() == b"x"


@pytest.mark.option("open", "direct_io")
def test_what_the_kernel_asks_for_at_an_open_and_at_a_second_read(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"file", bytes(5000))

    def asked(*arguments: str) -> tuple[bool, bool]:
        """Whether an open becomes a request, and whether a second read does."""
        with plain_shop.mounted(*arguments) as mount:
            (mount.path / "file").read_bytes()
            opens, reads = kernel_requests(mount, "OPEN"), kernel_requests(mount, "READ")
            assert len((mount.path / "file").read_bytes()) == 5000
            return kernel_requests(mount, "OPEN") > opens, kernel_requests(mount, "READ") > reads

    assert asked() == (False, False)
    assert asked("--open", "ask") == (True, False)
    assert asked("--direct-io") == (True, True)
