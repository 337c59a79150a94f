"""Options that no other module of tests is about."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ossmount.channel.mounting import find_mount
from ossmount.emulator.faults import Fault
from tests.mount.support import BUCKET, Workshop

MIB = 1 << 20


def usual_piece(shop: Workshop, *arguments: str) -> int:
    """Bytes of the largest GETs of a file that is read from its beginning to its end, but for the first ones."""
    shop.server.requests.clear()
    with shop.mounted("--memory-limit", "128M", *arguments) as mount, (mount.path / "big").open("rb", buffering=0) as file:
        while file.read(MIB):
            pass
    sizes = sorted(entry.sent for entry in shop.server.requests.select("GET", b"big"))
    assert sum(sizes) >= 16 * MIB
    return sizes[-3]


def test_what_is_fetched_ahead_comes_in_pieces_of_the_readahead_size(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"big", bytes(16 * MIB))
    assert usual_piece(plain_shop, "--readahead-size", "256K") <= 300 << 10 < usual_piece(plain_shop)


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


def test_the_readahead_of_the_kernel_is_as_asked_for(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"file", b"x")
    with plain_shop.mounted("-o", "read_ahead_kb=512") as mount:
        mounted = find_mount(str(mount.path))
        assert mounted is not None
        assert Path(f"/sys/class/bdi/{mounted.device}/read_ahead_kb").read_text().strip() == "512"
        assert mount.status()["facts"]["channel"]["read_ahead_kb"] == 512


def test_an_endpoint_that_takes_no_connection_is_given_up_after_the_connect_timeout(plain_shop: Workshop) -> None:
    """192.0.2.1 is nobody's (RFC 5737): packets to it get lost, or come back as unreachable."""
    place = plain_shop.mountpoint()
    words = ["--endpoint", "http://192.0.2.1", "--connect-timeout", "300ms", "--timeout", "2"]
    done = plain_shop.run("mount", f"oss://{BUCKET}", str(place), *words)
    assert done.returncode == 3, done.stderr
    assert "http://192.0.2.1" in done.stderr
