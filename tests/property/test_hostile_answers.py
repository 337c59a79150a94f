"""Answers and listings that no store should give: right bytes or an error, no crash, no hang, and memory that is bounded."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastcrc import crc64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossmount.errors import Damaged, OssMountError
from ossmount.oss.answers import describe, failure_of, parse_refusal
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.listing import parse_listing
from tests.property.hostile import DATA, hostile_answer, hostile_listing
from tests.unit.oss.fetch.scripted import CLOSE, Action, Request, Wanted, fetch_all, honest, serving, source

CRC = f"\r\nx-oss-hash-crc64ecma: {crc64.xz(DATA)}\r\n".encode()
MEMORY = 150 << 10  # KiB that a fetch process may ever have had
KEYS = [f"p/{number:03}%20{'x' * number}".encode() for number in range(12)]
LISTING = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult><Name>b</Name><Prefix>p%2F</Prefix><MaxKeys>100</MaxKeys>'
    b"<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    + b"".join(
        b"<Contents><Key>%b</Key><LastModified>2026-11-21T15:47:04.000Z</LastModified><ETag>&quot;E%d&quot;</ETag>"
        b"<Type>Normal</Type><Size>%d</Size><StorageClass>Standard</StorageClass></Contents>" % (key, number, number)
        for number, key in enumerate(KEYS)
    )
    + b"<CommonPrefixes><Prefix>p/z/</Prefix></CommonPrefixes></ListBucketResult>"
)


def fetch_hostile(seeds: list[int]) -> int:
    """Fetches an object for each seed, answered first as the seed says, then as OSS does. KiB that the process had at most."""
    answers = {b"%d" % seed: hostile_answer(random.Random(seed)) for seed in seeds}
    most = 0

    def script(request: Request) -> list[Action]:
        return [honest(DATA, "E1", request)] if request.nth else [answers[request.key], CLOSE]

    def watch(pool: FetchPool, _numbers: list[int]) -> None:
        nonlocal most
        while not all(item.calls for item in wanted):
            for pid in pool.pids():
                most = max(most, _peak(pid))
            time.sleep(0.05)

    with serving(script) as server:
        wanted = [Wanted(key, DATA, pieces=2) for key in answers]
        facts = fetch_all(source(server.url), wanted, connections=32, during=watch)
    assert facts["restarts"] == 0
    assert {item.calls for item in wanted} == {1}
    # without a checksum nothing tells one byte from another
    assert [item.key for item in wanted if item.failure is None and not item.right and CRC in answers[item.key]] == []
    return most


def _peak(pid: int | str) -> int:
    """The most memory that a process ever had, KiB; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def parse_hostile(seed: int) -> bool:
    """Whether the listing was refused; a page that is not refused keeps all promises of one."""
    body = hostile_listing(random.Random(seed), LISTING)
    try:
        page = parse_listing(body, prefix=b"p/", delimiter=b"/", max_keys=100)
    except Damaged:
        return True
    names = [info.key for info in page.objects]
    assert names == sorted(set(names)) and all(name.startswith(b"p/") and len(name) <= 1023 for name in names)
    assert all(0 <= info.size <= 1 << 53 and info.etag.isprintable() and '"' not in info.etag for info in page.objects)
    assert len(names) + len(page.prefixes) <= 100
    return False


def explain_hostile(seed: int) -> None:
    """An error document, or what stands in its place, becomes one failure with one printable line."""
    chance = random.Random(seed)
    refusal = parse_refusal(chance.choice((400, 403, 404, 500, 503)), {"x-oss-err": "%%%"}, hostile_answer(chance)[-2000:])
    assert isinstance(failure_of(refusal, "GET a"), OssMountError)
    assert len(describe(refusal)) < 2000


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 60))
def test_no_answer_harms_the_fetch_process(seed: int) -> None:
    assert fetch_hostile(list(range(seed, seed + 60))) < MEMORY


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 1 << 60))
def test_no_listing_gets_through_that_breaks_a_promise(seed: int) -> None:
    parse_hostile(seed)
    explain_hostile(seed)


def test_the_listing_that_is_damaged_is_a_good_one() -> None:
    page = parse_listing(LISTING, prefix=b"p/", delimiter=b"/", max_keys=100)
    assert (len(page.objects), page.prefixes, page.next_token) == (len(KEYS), [b"p/z/"], "t")


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_answers() -> None:
    peaks = [fetch_hostile(list(range(start, start + 1000))) for start in range(0, 100_000, 1000)]
    print(f"\n100,000 answers: at most {max(peaks) >> 10} MiB in the fetch process, at first {peaks[0] >> 10}")
    assert max(peaks) < MEMORY


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", [parse_hostile, explain_hostile])
def test_a_hundred_thousand_documents(what: Callable[[int], object]) -> None:
    before, refused = _peak("self"), 0
    for seed in range(100_000):
        refused += what(seed) is True
    grown = _peak("self") - before
    print(f"\n100,000 documents, {refused} refused, {grown >> 10} MiB more than before")
    assert grown < 64 << 10
