"""Each rule speaks for the numbers that it is about, and is silent for those of a healthy mount."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ossmount.durations import Durations
from ossmount.insight.finding import Finding
from ossmount.insight.looks import Looks
from ossmount.insight.rules import RULES, findings
from tests.unit.recorded import recorded


def took(*seconds: float) -> dict[str, Any]:
    durations = Durations()
    for each in seconds:
        durations.add(each)
    return durations.facts()


#: A minute of a healthy mount that reads 100 MB/s out of OSS.
HEALTHY: dict[str, Any] = {
    "uptime": 60.0,
    "counters": {"list": 3, "head": 0, "get": 1000, "kernel": {"READ": 24_000}},
    "facts__cpu": {"daemon": 20.0, "fetch": 15.0, "others": 3.0, "cpus": 8},
    "facts__loop": {"median_ms": 1.0, "worst_ms": 30.0},
    "facts__channel__durations": {"READ": took(*[0.0005] * 24_000)},
    "facts__channel__errors": {},
    "facts__channel__bytes_read": 6 << 30,
    "facts__channel__files_read": 6,
    "facts__data__hits": 20_000,
    "facts__data__joined": 3_500,
    "facts__data__misses": 500,
    "facts__data__fetched_ahead": 980,
    "facts__data__queued": 0,
    "facts__data__dropped_unread": 0,
    "facts__data__no_room_ahead": 0,
    "facts__fetch__requests": 1000,
    "facts__fetch__bytes": 6 << 30,
    "facts__fetch__durations": {"first_byte": took(*[0.012] * 1000), "get": took(*[0.08] * 1000)},
    "facts__fetch__waited": {"queue": 2.0, "retry": 0.0},
    "facts__memory__slab": 1 << 30,
    "facts__memory__limit": 1 << 30,
    "facts__memory__reason": "",
    "facts__metadata__cache": {"hits": {"lookup": 5000, "list": 10}, "misses": {"lookup": {"unknown": 3}}},
    "facts__disk__directories": {"/cache": {"path": "/cache", "problem": "", "durations": {"read": took(*[0.0004] * 500)}}},
    "options__readahead_size": {"value": "4M", "origin": "default"},
    "options__readahead_count": {"value": "32", "origin": "default"},
}

#: What differs in a mount that has the trouble: by the name of the finding that must come first.
TROUBLES: list[tuple[str, Mapping[str, Any], str]] = [
    ("credentials", {"facts__channel__errors": {"EACCES": 7}}, "7 requests"),
    ("credentials", {"facts__credentials__expires_in": -120.0}, "0:02:00 ago"),
    ("credentials", {"facts__credentials": {"failing": True, "last_error": "no role"}}, "renewing them fails: no role"),
    ("unreachable", {"facts__channel__errors": {"EIO": 2, "ETIMEDOUT": 1}}, "2 requests of programs failed with EIO"),
    ("unreachable", {"facts__fetch__retries": 300, "facts__fetch__timeouts": 200}, "300 of 1,000"),
    ("throttled", {"facts__fetch__throttled": 500, "facts__fetch__retries": 500}, "500 requests were refused"),
    (
        "limited",
        {"facts__rates__limit_requests": 17, "facts__rates__wanted_requests": 40},
        "allowed are 17 requests",
    ),
    (
        "slow_disk",
        {"facts__disk__directories": {"/hdd": {"path": "/hdd", "problem": "it is too slow", "durations": {"read": took()}}}},
        "/hdd: it is too slow",
    ),
    (
        "slow_disk",
        {"facts__disk__directories": {"/hdd": {"path": "/hdd", "problem": "", "durations": {"read": took(*[0.3] * 50)}}}},
        "median",
    ),
    ("slow_disk", {"facts__disk__not_written": 5000, "facts__data__fetches": 1000}, "could not be cached in time"),
    ("little_memory", {"facts__data__queued": 2000}, "2,000 of 24,000 reads had to wait for memory"),
    ("little_memory", {"facts__data__dropped_unread": 1 << 30}, "1 GiB that were fetched ahead"),
    (
        "little_memory",
        {"facts__data__no_room_ahead": 900, "facts__memory__reason": "the container is full", "facts__memory__slab": 64 << 20},
        "the container is full",
    ),
    ("cpu", {"facts__cpu": {"daemon": 57.0, "fetch": 40.0, "others": 3.0, "cpus": 2}}, "1.67 of 2 CPUs"),
    ("cpu", {"facts__loop": {"median_ms": 80.0, "worst_ms": 900.0}}, "80 ms late"),
    (
        "cache_too_small",
        {
            "facts__disk__directories": {"/nvme": {"path": "/nvme", "evicted_bytes": 5 << 30, "used": 1 << 30}},
            "facts__disk__hits": 100,
            "facts__disk__misses": 900,
        },
        "5 GiB were dropped while 6 GiB came from OSS; the cache holds 1 GiB",
    ),
    (
        "metadata_expires",
        {"facts__metadata__cache": {"hits": {"lookup": 500}, "misses": {"lookup": {"expired": 900}}}},
        "900 of 1,400",
    ),
    (
        "names_unknown",
        {
            "counters__list": 400,
            "facts__oss__durations": {"list": took(*[0.05] * 400)},
            "facts__metadata__cache": {"hits": {}, "misses": {"lookup": {"unknown": 400}}},
        },
        "400 names were not known",
    ),
    (
        "connections",
        {"facts__fetch__waited": {"queue": 400.0, "retry": 0.0}, "facts__fetch__outstanding": 900},
        "each of 1,000 GETs waited 400 ms",
    ),
    (
        "slow_store",
        {
            "facts__data__hits": 100,
            "facts__fetch__durations": {"first_byte": took(*[0.4] * 1000), "get": took(*[0.45] * 1000)},
        },
        "until the first byte: median",
    ),
    (
        "slow_transfer",
        {
            "facts__data__hits": 100,
            "facts__fetch__bytes": 1 << 30,
            "facts__channel__bytes_read": 1 << 30,
            "facts__fetch__durations": {"first_byte": took(*[0.012] * 1000), "get": took(*[2.0] * 1000)},
        },
        "a second on each connection",
    ),
    (
        "window",
        {
            "facts__data__hits": 1000,
            "facts__data__joined": 23_000,
            "facts__channel__bytes_read": 60 * (600 << 20),
            "facts__fetch__bytes": 60 * (600 << 20),
            "options__readahead_count": {"value": "2", "origin": "--readahead-count"},
        },
        "8 MiB are read ahead at most",
    ),
    (
        "small_random_reads",
        {
            "facts__data__hits": 100,
            "facts__data__joined": 0,
            "facts__data__misses": 20_000,
            "facts__data__fetched_ahead": 10,
            "facts__fetch__requests": 20_000,
            "facts__fetch__bytes": 20_000 * 4096,
            "facts__channel__bytes_read": 20_000 * 4096,
            "facts__channel__files_read": 20,
        },
        "a GET brings 4 KiB",
    ),
    ("amplification", {"facts__fetch__bytes": 40 << 30}, "6.7 bytes for each byte"),
]


every_trouble = pytest.mark.parametrize(
    ("name", "changes", "evidence"), TROUBLES, ids=[f"{name}-{number}" for number, (name, *_) in enumerate(TROUBLES)]
)


def look(changes: Mapping[str, Any]) -> Looks:
    return Looks(None, recorded(**{**HEALTHY, **changes}))


def test_a_healthy_mount_has_nothing_wrong() -> None:
    (only,) = findings(look({}))
    assert (only.name, only.weight) == ("fine", 0)
    assert "24,000 READs in 60 s" in only.evidence[0]


def test_reads_that_the_disk_answers_do_not_wait_for_a_slow_store() -> None:
    slow = {"facts__data__hits": 100, "facts__fetch__durations": {"first_byte": took(*[0.4] * 9), "get": took(*[0.4] * 9)}}
    assert findings(look(slow))[0].name == "slow_store"
    (only,) = findings(look({**slow, "facts__disk__hits": 3900, "facts__disk__misses": 30}))
    assert only.name == "fine"


def test_a_mount_that_nobody_reads_has_nothing_wrong() -> None:
    idle = Looks(recorded(), recorded(uptime=1000.0))
    (only,) = findings(idle)
    assert only.name == "idle" and only.weight == 0


@pytest.mark.parametrize(
    ("name", "changes", "evidence"), TROUBLES, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(TROUBLES)]
)
def test_a_trouble_is_named_first_with_its_numbers_and_an_advice(name: str, changes: Mapping[str, Any], evidence: str) -> None:
    first = findings(look(changes))[0]
    assert first.name == name
    assert any(evidence in text for text in first.evidence), first.evidence
    assert first.advice and first.title.endswith(".")


@pytest.mark.parametrize(
    ("name", "changes", "evidence"), TROUBLES, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(TROUBLES)]
)
def test_what_is_long_over_is_not_told(name: str, changes: Mapping[str, Any], evidence: str) -> None:
    """The same counters an hour ago and now: whatever it was, it has stopped. What is a state and not a counter stays."""
    states = {
        "facts__credentials__expires_in",
        "facts__credentials",
        "facts__rates__wanted_requests",
        "facts__disk__directories",
        "facts__loop",
    }
    past = {path: value for path, value in changes.items() if path not in states}
    before = recorded(**{**HEALTHY, **past})
    after = recorded(**{**HEALTHY, **past, "uptime": 3660.0})
    assert [finding.name for finding in findings(Looks(before, after))] == ["idle"]


def test_every_rule_has_a_trouble_that_it_is_tested_with() -> None:
    found: dict[str, Finding] = {}
    for _, changes, _ in TROUBLES:
        found |= {rule.__name__: made for rule in RULES if (made := rule(look(changes))) is not None}
    assert found.keys() == {rule.__name__ for rule in RULES}


def test_options_that_are_advised_exist() -> None:
    import re

    from ossmount.options.declarations import OPTIONS

    flags = {option.flag for option in OPTIONS} | {"--pin"}
    for _, changes, _ in TROUBLES:
        for finding in findings(look(changes)):
            for text in (*finding.advice, *finding.evidence, finding.title):
                assert set(re.findall(r"--[a-z-]+", text)) <= flags, text


def test_a_status_of_almost_nothing_breaks_no_rule() -> None:
    """Over pyfuse3 there are no durations, and without a cache on disk nothing of it."""
    bare = {"source": "oss://b", "mountpoint": "/mnt/x", "uptime": 5.0, "daemon_pid": 1, "counters": {}, "facts": {}}
    assert [finding.name for finding in findings(Looks(None, bare))] == ["idle"]
