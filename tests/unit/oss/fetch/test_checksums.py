"""What fetch processes do with checksums: they compare those of whole objects, and tell those of ranges."""

from __future__ import annotations

import random

from fastcrc import crc64

from ossmount.errors import Corrupted, Damaged
from tests.unit.oss.fetch.scripted import CLOSE, Action, Request, Wanted, fetch_all, honest, serving, source

DATA = random.Random(5).randbytes(100_000)
WRONG = DATA[:50_000] + b"?" + DATA[50_001:]


def test_the_checksum_of_a_range_and_that_of_its_object_are_told() -> None:
    with serving(lambda request: [honest(DATA, "E1", request)]) as server:
        wanted = [
            Wanted(b"range", DATA, start=7, length=60_000, pieces=5, sums=[]),
            Wanted(b"byte", DATA, start=99_999, sums=[]),
            Wanted(b"whole", DATA, sums=[]),
        ]
        facts = fetch_all(source(server.url), wanted)
    assert all(item.right for item in wanted)
    whole = crc64.xz(DATA)
    assert [item.sums for item in wanted] == [[(crc64.xz(DATA[7:60_007]), whole)], [(crc64.xz(DATA[-1:]), whole)], []]
    assert facts["verified"] == 1 and facts["unverified"] == 0


def test_where_oss_has_no_checksum() -> None:
    with serving(lambda request: [honest(DATA, "E1", request, crc=False)]) as server:
        wanted = [Wanted(b"range", DATA, start=7, sums=[]), Wanted(b"whole", DATA)]
        facts = fetch_all(source(server.url), wanted)
    assert all(item.right for item in wanted)
    assert wanted[0].sums == [(crc64.xz(DATA[7:]), None)]
    assert facts["verified"] == 0 and facts["unverified"] == 1


def test_a_range_that_came_over_two_connections_has_one_checksum() -> None:
    def script(request: Request) -> list[Action]:
        answer = honest(DATA, "E1", request)
        return [answer] if request.nth else [answer[:40_000], CLOSE]

    with serving(script) as server:
        wanted = [Wanted(b"range", DATA, start=7, sums=[]), Wanted(b"whole", DATA)]
        facts = fetch_all(source(server.url), wanted)
    assert all(item.right for item in wanted)
    assert wanted[0].sums == [(crc64.xz(DATA[7:]), crc64.xz(DATA))]
    assert facts["verified"] == 1


def test_a_range_ends_in_what_was_found() -> None:
    with serving(lambda request: [honest(DATA, "E1", request)]) as server:
        wanted = [
            Wanted(b"range", DATA, start=7, sums=[], verdict=Corrupted("together they are wrong")),
            Wanted(b"other", DATA),
        ]
        fetch_all(source(server.url), wanted)
    assert isinstance(wanted[0].failure, Corrupted) and wanted[1].right


def test_a_wrong_byte_is_asked_for_once_more_and_then_an_error() -> None:
    def script(request: Request) -> list[Action]:
        answer = honest(DATA, "E1", request)
        lies = request.key == b"always" or request.nth == 0
        return [answer.replace(DATA, WRONG) if lies else answer]

    with serving(script) as server:
        wanted = [Wanted(b"once", DATA), Wanted(b"always", DATA)]
        facts = fetch_all(source(server.url), wanted)
        asked = sorted(request.key for request in server.requests)
    assert wanted[0].right and isinstance(wanted[1].failure, Damaged)
    assert asked == [b"always", b"always", b"once", b"once"]
    assert facts["damaged"] == 3 and facts["verified"] == 1


def test_whole_objects_are_not_compared_where_that_is_not_wanted() -> None:
    with serving(lambda request: [honest(DATA, "E1", request).replace(DATA, WRONG)]) as server:
        wanted = [Wanted(b"whole", DATA)]
        facts = fetch_all(source(server.url), wanted, verify=False)
    assert wanted[0].received == WRONG and wanted[0].failure is None
    assert facts["verified"] == 0 and facts["unverified"] == 1
