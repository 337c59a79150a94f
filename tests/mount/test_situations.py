"""What `explain`, `top` and `doctor` say in situations that are made on purpose."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ossmount.emulator.faults import Fault
from tests.mount.cgroups import cpu_cgroup
from tests.mount.support import BUCKET, LIMIT, ROOT, Mount, Workshop, eventually, fill, read_all

MIB = 1 << 20


class Said(NamedTuple):
    """What the commands say of a mount."""

    names: list[str]  # of the findings of explain, the weightiest first
    explain: str
    top: str
    numbers: dict[str, Any]  # of top --json


def said(mount: Mount) -> Said:
    """Of all that happened since the mount."""
    shop, place = mount.workshop, str(mount.path)
    found = json.loads(shop.run("explain", place, "--since-mount", "--json").stdout)["findings"]
    numbers = json.loads(shop.run("top", place, "--once", "--json").stdout)
    text = shop.run("explain", place, "--since-mount").stdout
    return Said([one["name"] for one in found], text, shop.run("top", place, "--once").stdout, numbers)


def examined(shop: Workshop, *words: str, code: int) -> dict[str, dict[str, Any]]:
    """What doctor finds, by subject."""
    done = shop.run("doctor", f"oss://{BUCKET}/files", "--json", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return {one["subject"]: one for one in json.loads(done.stdout)["findings"]}


def test_a_store_that_throttles(plain_shop: Workshop) -> None:
    fill(plain_shop, 40)
    with plain_shop.mounted() as mount:
        assert len(os.listdir(mount.path / "files")) == 40
        plain_shop.server.faults.add(Fault(operations=("GET",), code="QpsLimitExceeded", count=30))
        read_all(mount)
        found = said(mount)
        assert "throttled" in found.names[:2]  # at most that reads failed comes before it
        assert "--limit-requests" in found.explain and "refused for being too many" in found.explain
        assert found.numbers["throttled"] > 0 and " 0 throttled" not in found.top
    plain_shop.server.faults.clear()
    plain_shop.server.faults.add(Fault(operations=("GET",), code="QpsLimitExceeded"))
    read = examined(plain_shop, code=1)["read"]
    assert read["level"] == "bad" and "QpsLimitExceeded" in read["text"] and "higher limit" in read["remedy"]


def test_a_token_that_has_expired(plain_shop: Workshop) -> None:
    fill(plain_shop, 10)
    keys = plain_shop.folder / "keys.json"

    def write(expiration: str) -> None:
        new = keys.with_suffix(".new")
        document = {"AccessKeyId": "test-id", "AccessKeySecret": "test-secret", "Expiration": expiration}
        new.write_text(json.dumps(document))
        new.rename(keys)

    write("2100-01-01T00:00:00Z")
    with plain_shop.mounted("--credentials", str(keys), "--timeout", "2") as mount:
        assert "min more" in said(mount).top
        plain_shop.server.faults.add(Fault(operations=("GET",), code="SecurityTokenExpired"))
        with pytest.raises(PermissionError):
            (mount.path / "files/0000").read_bytes()
        found = said(mount)
        assert found.names[0] == "credentials" and "EACCES" in found.explain
        assert "! OSS refuses the credentials." in found.top and found.numbers["credentials_seconds_left"] > 0
    refused = examined(plain_shop, "--credentials", str(keys), code=1)
    assert refused["list"]["level"] == "ok" and "SecurityTokenExpired" in refused["read"]["text"]
    assert "renew" in refused["read"]["remedy"]
    write("2020-01-01T00:00:00Z")
    expired = examined(plain_shop, "--credentials", str(keys), code=1)["credentials"]
    assert expired["level"] == "bad" and "expired" in expired["text"]


@pytest.mark.stress
def test_a_cache_that_is_too_small(plain_shop: Workshop) -> None:
    fill(plain_shop, 40, size=MIB)
    cache = ["--cache-dir", str(plain_shop.folder / "cache"), "--cache-free-space", "0"]
    with plain_shop.mounted(*cache, "--cache-size", "16M", "-o", "direct_io,memory_limit=16M") as mount:

        def evicted() -> bool:
            read_all(mount)
            folders = mount.status()["facts"]["disk"]["directories"].values()
            return sum(int(folder["evicted_bytes"]) for folder in folders) > 80 * MIB

        eventually(evicted, "the cache has dropped what is read again")
        found = said(mount)
        assert "cache_too_small" in found.names
        assert "--cache-size" in found.explain and "were dropped while" in found.explain
        assert "disk: " in found.top and found.numbers["disk"]["misses"] > 0
    disk = plain_shop.mountpoint("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(disk)], check=True)
    try:
        tight = examined(plain_shop, "--cache-dir", str(disk), code=1)[f"cache {disk}"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert tight["level"] == "bad" and "make room" in tight["remedy"]


@contextlib.contextmanager
def slow_disk(shop: Workshop, milliseconds: int) -> Iterator[Path]:
    """A folder whose writes and reads take so long, each."""
    place = shop.mountpoint("slow")
    words = [sys.executable, "-m", "tests.mount.slow_disk", str(place), str(milliseconds)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=shop.environment) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == "mounted\n"
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=False)
            try:
                server.wait(LIMIT)
            finally:
                server.kill()


def test_a_disk_that_is_slow(plain_shop: Workshop) -> None:
    """What explain says of one is in test_observing: there it stands still while it is read."""
    fill(plain_shop, 1)
    with slow_disk(plain_shop, 2) as place:
        found = examined(plain_shop, "--cache-dir", str(place), code=0)[f"cache {place}"]
    assert found["level"] == "note" and "MB/s" in found["text"] and "NVMe" in found["remedy"]


@pytest.mark.stress
def test_small_reads_at_random_places(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"big", bytes(256 * MIB))
    places = random.Random(7).sample(range(256 * MIB // 4096), 300)
    with plain_shop.mounted() as mount:
        descriptor = os.open(mount.path / "big", os.O_RDONLY)
        try:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda place: os.pread(descriptor, 4096, place * 4096), places))
        finally:
            os.close(descriptor)
        found = said(mount)
    assert "small_random_reads" in found.names
    assert "ossmount warm --pin" in found.explain and "a GET brings" in found.explain


@pytest.mark.stress
def test_a_window_that_is_too_small_for_the_distance(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"big", bytes(40 * MIB))
    plain_shop.server.faults.add(Fault(operations=("GET",), latency=0.4))

    def findings(*arguments: str) -> Said:
        with plain_shop.mounted(*arguments) as mount:
            with (mount.path / "big").open("rb", buffering=0) as file:
                while file.read(MIB):
                    pass
            return said(mount)

    narrow = findings("--readahead-size", "1M", "--readahead-count", "2")
    assert "window" in narrow.names and "--readahead-count" in narrow.explain
    assert "window" not in findings("--memory-limit", "256M").names


@pytest.mark.stress
def test_a_container_with_too_little_cpu(plain_shop: Workshop) -> None:
    fill(plain_shop, 100)
    with cpu_cgroup(0.1) as group, plain_shop.mounted("--direct-io") as mount:
        for pid in mount.status()["pids"]:
            (group / "cgroup.procs").write_text(str(pid))
        over = threading.Event()

        def walk() -> None:
            while not over.is_set():
                read_all(mount)

        reader = threading.Thread(target=walk)
        reader.start()
        try:

            def noticed() -> bool:
                text = plain_shop.run("explain", str(mount.path), "--for", "5s", "--json").stdout
                found = [one for one in json.loads(text)["findings"] if one["name"] == "cpu"]
                return any("of 0.1 CPUs" in one["evidence"][0] for one in found)

            eventually(noticed, "explain says that CPU lacks")
            assert " of 0.1" in plain_shop.run("top", str(mount.path), "--once").stdout
        finally:
            over.set()
            reader.join(LIMIT)
