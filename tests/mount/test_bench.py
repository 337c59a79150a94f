"""`ossmount bench` of a bucket and of a mount."""

from __future__ import annotations

import json

import pytest

from ossmount.channel.mounting import mounts
from tests.mount.support import BUCKET, Workshop


@pytest.fixture
def bucket(plain_shop: Workshop) -> Workshop:
    for number in range(40):
        plain_shop.server.store.put(BUCKET, b"train/%02d.jpg" % number, b"x" * 5000)
    plain_shop.server.store.put(BUCKET, b"train/large", b"y" * (2 << 20))
    return plain_shop


def test_a_bucket(bucket: Workshop) -> None:
    chart = bucket.folder / "chart.png"
    done = bucket.run(
        "bench", f"oss://{BUCKET}/train", "--seconds", "1", "--json", "--png", str(chart), "--memory-limit", "64M"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    counts = {each["name"]: each["done"] for each in found["phases"]}
    assert 1 <= counts["walk and stat"] <= 41 and 1 <= counts["small files, cold"] <= 40  # a second is short on a busy machine
    assert found["requests"].keys() <= {"list", "head", "get"} and found["requests"]["get"] >= 1
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert not [mount for mount in mounts() if "ossmount-bench-" in mount.mountpoint]
    assert {entry.method for entry in bucket.server.requests} <= {"GET", "HEAD"}, "it only reads"


def test_a_mount_and_a_folder_of_it(bucket: Workshop) -> None:
    with bucket.mounted() as mount:
        done = bucket.run("bench", f"{mount.path}/train", "--seconds", "1", "--readers", "2")
        assert done.returncode == 0, done.stderr
        assert "small files, again" in done.stdout and "█" in done.stdout and "requests to OSS: " in done.stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [(("/no/such/folder",), 2), (("oss://nowhere",), 5), (("/", "--readers", "0"), 2), (("/tmp", "--memory-limit", "1G"), 2)],
)
def test_what_cannot_be(bucket: Workshop, words: tuple[str, ...], code: int) -> None:
    done = bucket.run("bench", *words)
    assert done.returncode == code and done.stderr
