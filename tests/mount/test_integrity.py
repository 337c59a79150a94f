"""Answers that are damaged on their way, and objects that are damaged where they lie: never a wrong byte that was verified."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oss2
import pytest

from ossmount.emulator.faults import Fault
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually

SMALL, LARGE = 100_000, (5 << 20) + 77
CHANCE = random.Random(23)
DATA = {b"small": CHANCE.randbytes(SMALL), b"large": CHANCE.randbytes(LARGE)}
STALE = {key: CHANCE.randbytes(len(data)) for key, data in DATA.items()}


def put(shop: Workshop, *names: bytes) -> None:
    """Objects with the bytes of "small" or "large", by the end of their names."""
    for name in names:
        shop.server.store.put(BUCKET, name, DATA[name.rpartition(b"-")[2]])


def facts(mount: Mount, part: str = "integrity") -> dict[str, Any]:
    found: dict[str, Any] = mount.status()["facts"][part]
    return found


def outcome(read: Callable[[], bytes]) -> bytes | int:
    """The bytes, or the errno."""
    try:
        return read()
    except OSError as failure:
        return failure.errno or 0


RIGHT = 0
#: Faults, and what becomes of a whole object and of one in ranges while they last.
LIES: dict[str, tuple[dict[str, Any], int, int]] = {
    "a bit": ({"flip_at": 50_000}, errno.EIO, errno.EIO),
    "the bytes of another version": ({"body": ...}, errno.EIO, errno.EIO),
    "wrong crc": ({"crc64": 17}, errno.EIO, errno.EIO),
    "no crc": ({"no_crc64": True}, RIGHT, RIGHT),
    "another etag": ({"etag": "0123456789ABCDEF", "ignore_conditions": True}, errno.ESTALE, errno.ESTALE),
    "too long": ({"longer": 5}, errno.EIO, errno.EIO),
    "too short": ({"longer": -5}, errno.EIO, errno.EIO),
    "another range": ({"range_shift": 4096}, RIGHT, errno.EIO),  # who asks for the whole object asks for no range
}
ONCE = [name for name, (_, whole, _) in LIES.items() if whole == errno.EIO]  # these are asked for once more


def lie(shop: Workshop, name: str, key: bytes, count: int | None = None) -> None:
    what = dict(LIES[name][0])
    if "body" in what:
        what["body"] = STALE[key.rpartition(b"-")[2]]
    shop.server.faults.add(Fault(keys=key.decode(), operations=("GetObject",), count=count, **what))


def test_answers_that_lie(shop: Workshop) -> None:
    """Each kind of lie for a small and a large object that nothing else happens to."""
    outcomes: dict[bytes, int] = {}
    for number, (name, (_, whole, ranges)) in enumerate(LIES.items()):
        outcomes |= {b"%d-small" % number: whole, b"%d-large" % number: ranges}
        put(shop, b"%d-small" % number, b"%d-large" % number)
        lie(shop, name, b"%d-small" % number)
        lie(shop, name, b"%d-large" % number)
    damaged = [key for key, expected in outcomes.items() if expected == errno.EIO]
    with shop.mounted("--verify", "full") as mount:
        for key, expected in outcomes.items():
            got = outcome((mount.path / os.fsdecode(key)).read_bytes)
            assert got == (expected or DATA[key[2:]]), f"{key!r}: {got if isinstance(got, int) else 'wrong bytes'}"
        shop.server.faults.clear()
        for key in damaged:
            assert mount.log.count(f"oss://{BUCKET}/{key.decode()}' (ETag") == 1
        # what never left the fetch process is read as soon as the answers are right again
        for key in (key for key in damaged if key.endswith(b"small")):
            assert outcome((mount.path / os.fsdecode(key)).read_bytes) == DATA[b"small"], key
        assert facts(mount)["damaged_objects"] == len(damaged)
        assert facts(mount)["without_crc"] > 0 and facts(mount, "fetch")["unverified"] == 1


def test_a_lie_that_is_told_once_costs_a_second_request(plain_shop: Workshop) -> None:
    shop = plain_shop
    keys = {b"%d-small" % number: name for number, name in enumerate(ONCE)}
    put(shop, *keys)
    for key, name in keys.items():
        lie(shop, name, key, count=1)
    with shop.mounted() as mount:
        for key, name in keys.items():
            assert (mount.path / os.fsdecode(key)).read_bytes() == DATA[b"small"], name
            assert shop.server.requests.count("GET", key) == 2, name
        assert facts(mount)["damaged_objects"] == 0 and facts(mount, "fetch")["damaged"] == len(keys)
        assert "is damaged" not in mount.log


def test_a_lie_about_the_last_range_of_a_large_object_costs_a_second_request(plain_shop: Workshop) -> None:
    shop, last = plain_shop, 5 << 20
    put(shop, b"once-large")
    with shop.mounted("--verify", "full", "--readahead-count", "0") as mount:
        descriptor = os.open(mount.path / "once-large", os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # the kernel asks for nothing ahead of us
            for offset in range(0, last, 1 << 20):
                assert os.pread(descriptor, 1 << 20, offset) == DATA[b"large"][offset : offset + (1 << 20)]
            told = shop.server.faults.add(Fault(operations=("GetObject",), flip_at=last, count=1))
            asked = shop.server.requests.count("GET", b"once-large")
            assert os.pread(descriptor, 1 << 20, last) == DATA[b"large"][last:]
            assert shop.server.requests.count("GET", b"once-large") == asked + 2 and told.hits == 1
        finally:
            os.close(descriptor)
        found = facts(mount)
        assert (found["asked_again"], found["covered"], found["corrupted"], found["damaged_objects"]) == (1, 1, 0, 0)


def test_a_large_object_that_is_damaged_leaves_no_copy(shop: Workshop) -> None:
    """Neither in memory, nor in the kernel, nor on the disk, where the next mount would find it."""
    put(shop, b"one-large", b"other-large")
    cache = shop.folder / "cache"
    bad = shop.server.faults.add(Fault(keys="one-large", operations=("GetObject",), flip_at=2 << 20))
    with shop.mounted("--verify", "full", "--cache-dir", str(cache)) as mount:
        path = mount.path / "one-large"
        assert (mount.path / "other-large").read_bytes() == DATA[b"large"]
        descriptor = os.open(path, os.O_RDONLY)
        try:
            assert os.pread(descriptor, 4096, 0) == DATA[b"large"][:4096]  # nothing is known of it yet
            assert outcome(path.read_bytes) == errno.EIO
            # the pages that the kernel had are gone too
            eventually(lambda: outcome(lambda: os.pread(descriptor, 4096, 0)) == errno.EIO, "the open file fails")
            assert _mapped(path) < 0  # SIGBUS
        finally:
            os.close(descriptor)
        assert facts(mount)["corrupted"] == facts(mount)["corrupted_objects"] == 1 and facts(mount)["covered"] == 1
        assert mount.log.count("all copies are dropped") == 1
        eventually(lambda: facts(mount, "disk")["dropped_versions"] == 1, "it is dropped from the disk")
        assert (mount.path / "other-large").read_bytes() == DATA[b"large"]
    shop.server.faults.remove(bad)
    asked = shop.server.requests.count("GET", b"other-large")
    with shop.mounted("--verify", "full", "--cache-dir", str(cache)) as mount:
        assert (mount.path / "one-large").read_bytes() == DATA[b"large"]
        assert (mount.path / "other-large").read_bytes() == DATA[b"large"]
        assert shop.server.requests.count("GET", b"other-large") == asked  # from the disk


def _mapped(path: Path) -> int:
    """How a process ends that looks at the first byte through a mapping."""
    program = "import mmap, sys; file = open(sys.argv[1]); mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[0]"
    words = [sys.executable, "-I", "-c", program, str(path)]
    return subprocess.run(words, capture_output=True, timeout=LIMIT, check=False).returncode


@pytest.mark.parametrize("mode", ["off", "sampled", "full"])
def test_what_is_looked_at(plain_shop: Workshop, mode: str) -> None:
    shop = plain_shop
    put(shop, b"one-small", *(b"%d-large" % number for number in range(3)))
    with shop.mounted("--verify", mode) as mount:
        for path in mount.path.iterdir():
            assert path.read_bytes() == DATA[path.name.rpartition("-")[2].encode()]
        found, fetched = facts(mount), facts(mount, "fetch")
        assert found["verify"] == mode and found["damaged_objects"] == 0
        assert (fetched["verified"], fetched["unverified"]) == ((0, 1) if mode == "off" else (1, 0))
        if mode == "off":
            assert "covered" not in found
        elif mode == "full":
            assert found["covered"] == 3
        else:
            assert found["covered"] <= 3 and found["corrupted"] == 0


@pytest.mark.option("verify")
def test_without_verification_a_wrong_byte_is_not_noticed(plain_shop: Workshop) -> None:
    """What the others are for."""
    put(plain_shop, b"one-small")
    lie(plain_shop, "a bit", b"one-small")
    with plain_shop.mounted("--verify", "off") as mount:
        got = (mount.path / "one-small").read_bytes()
        assert [at for at, (one, other) in enumerate(zip(got, DATA[b"small"], strict=True)) if one != other] == [50_000]


def test_full_verification_switches_passthrough_off_and_says_so(plain_shop: Workshop) -> None:
    cache = str(plain_shop.folder / "cache")
    with plain_shop.mounted("--verify", "full", "--passthrough", "--cache-dir", cache) as mount:
        assert "--verify full" in facts(mount, "channel")["passthrough"]["why"]


def test_objects_that_were_made_in_parts(plain_shop: Workshop) -> None:
    """Multipart uploads and appendable objects have a CRC-64 of all their bytes, whatever their ETag is."""
    data = DATA[b"large"]
    session = oss2.Session()
    bucket = oss2.Bucket(oss2.Auth("test-id", "test-secret"), plain_shop.server.url, BUCKET, session=session)
    for name, size in (("parts-large", LARGE), ("parts-small", 300_000)):
        upload = bucket.init_multipart_upload(name).upload_id
        parts = []
        for number, (start, end) in enumerate([(0, size // 2), (size // 2, size)], start=1):
            part = bucket.upload_part(name, upload, number, data[start:end])
            parts.append(oss2.models.PartInfo(number, part.etag))
        bucket.complete_multipart_upload(name, upload, parts)
    for start, end in ((0, 1_000_000), (1_000_000, LARGE)):
        bucket.append_object("appended-large", start, data[start:end])
    session.session.close()
    with plain_shop.mounted("--verify", "full") as mount:
        assert (mount.path / "parts-large").read_bytes() == (mount.path / "appended-large").read_bytes() == data
        assert (mount.path / "parts-small").read_bytes() == data[:300_000]
        assert facts(mount)["covered"] == 2 and facts(mount, "fetch")["verified"] == 1
        assert facts(mount)["damaged_objects"] == 0
