"""Epochs over a store that fails now and then, and one that takes only so many requests a second."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ossmount.emulator.faults import Fault
from tests.mount import parallel_reader
from tests.mount.support import BUCKET, Mount, Workshop

SIZE = 20_000  # bytes
#: One request in twenty meets one of these.
FAULTS = (
    Fault(probability=0.010, operations=("GET", "LIST", "HEAD"), reset=True),
    Fault(probability=0.010, operations=("GetObject",), reset_after=7_000),
    Fault(probability=0.010, operations=("GetObject",), truncate_after=12_345),
    Fault(probability=0.010, operations=("GET", "LIST", "HEAD"), code="InternalError"),
    Fault(probability=0.004, operations=("GetObject",), latency=0.3),
    Fault(probability=0.004, operations=("GET", "LIST", "HEAD"), code="ServiceUnavailable"),
    Fault(probability=0.001, operations=("GetObject",), hang=True),
    Fault(probability=0.001, operations=("GetObject",), corrupt_at=9_999),
)


def fill(shop: Workshop, files: int) -> list[str]:
    """Their names, in an order of training."""
    names = [f"train/{number % 40:02}/{number:05}.bin" for number in range(files)]
    for name in names:
        shop.server.store.put(BUCKET, name.encode(), parallel_reader.content(name, SIZE))
    random.Random(3).shuffle(names)
    return names


def read(mount: Mount, names: Iterable[str], threads: int) -> dict[str, Any]:
    words = [sys.executable, "-I", parallel_reader.__file__, str(mount.path), str(threads), str(SIZE)]
    done = subprocess.run(words, input="\n".join(names), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def epoch(shop: Workshop, names: list[str], faults: Iterable[Fault], place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a new mount's 8 readers saw, and what its fetches went through."""
    shop.server.faults.clear()
    for fault in faults:
        shop.server.faults.add(fault)
    env = {"OSSMOUNT_HEDGE_ABOVE": None, "OSSMOUNT_METADATA_DIR": str(shop.folder / f"names-{place}")}
    with shop.mounted(env=env, name=place) as mount:
        result = read(mount, names, 8)
        return result, mount.status()["facts"]["fetch"]


def test_an_epoch_with_random_faults_has_no_error_and_no_wrong_byte(plain_shop: Workshop) -> None:
    names = fill(plain_shop, 150)
    more = [Fault(probability=0.1, operations=("GetObject",), truncate_after=100)]
    result, fetch = epoch(plain_shop, names, [*FAULTS[:-2], *more], "faulty")
    assert (result["errors"], result["wrong"], sum(result["done"])) == ({}, [], len(names))
    assert fetch["retries"] > 0


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_an_epoch_with_random_faults_takes_little_longer(plain_shop: Workshop) -> None:
    """In turn with one without: the machine does other things too."""
    names = fill(plain_shop, 4000)
    times: dict[str, list[float]] = {"without": [], "with": []}
    for turn in range(3):
        for how, faults in (("without", ()), ("with", FAULTS)):
            result, fetch = epoch(plain_shop, names, faults, f"{how}-{turn}")
            assert (result["errors"], result["wrong"], sum(result["done"])) == ({}, [], len(names))
            times[how].append(result["seconds"])
            counted = {name: fetch[name] for name in ("requests", "retries", "timeouts", "throttled", "hedged", "hedges_won")}
            print(f"\n{how} faults: {result['seconds']:.2f} s, {counted}", end="")
    ratio = min(times["with"]) / min(times["without"])
    print(f"\nwith faults {ratio:.2f} times as long as without")
    assert ratio <= 1.6


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_a_store_that_takes_so_many_requests_a_second_is_used_to_nine_tenths(plain_shop: Workshop) -> None:
    """500 a second; fewer on a machine that could not read twice as many without a limit."""
    first, most, seconds = 2000, 500, 40
    names = fill(plain_shop, first + most * seconds)
    options = ("--fetch-workers", "2", "-o", "attr_timeout=inf,entry_timeout=inf")
    with plain_shop.mounted(*options, name="free") as mount:
        rate = min(most, int(first / read(mount, names[:first], 64)["seconds"] / 2))
    with plain_shop.mounted(*options) as mount:
        sum(1 for _ in Path(mount.path).rglob("*"))
        injection = plain_shop.server.faults.add(Fault(operations=("GetObject",), code="QpsLimitExceeded", rate=rate))
        result = read(mount, names[first : first + rate * seconds], 64)
        rates = mount.status()["facts"]["rates"]
    assert (result["errors"], result["wrong"]) == ({}, [])
    steady = result["done"][10:-1]
    got = sum(steady) / len(steady)
    learned = rates["learned_requests"]
    print(f"\n{got:.0f} of {rate} a second, {injection.hits} of {injection.matched} refused, {learned} learned")
    print(f"second by second: {result['done']}")
    assert got >= 0.9 * rate
