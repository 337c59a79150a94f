"""What happened between two looks, and how numbers are said."""

from __future__ import annotations

import pytest

from ossmount.insight.looks import Looks, count, moment, percent, size
from ossmount.insight.summary import Prices, as_numbers, requests, sections
from tests.unit.recorded import recorded


def test_counters_are_differences_and_rates() -> None:
    before = recorded(uptime=10.0, facts__data__hits=100, facts__channel__errors={"EIO": 1})
    after = recorded(uptime=15.0, facts__data__hits=150, facts__channel__errors={"EIO": 1, "ESTALE": 2})
    looks = Looks(before, after)
    assert (looks.seconds, looks.since_mount, looks.window) == (5.0, False, "last 5 s")
    assert looks.grown("facts.data.hits") == 50
    assert looks.rate("facts.data.hits") == 10
    assert looks.table("facts.channel.errors") == {"ESTALE": 2}
    assert looks.durations("facts.channel.durations.READ")["count"] == 0
    assert looks.grown("facts.no.such.thing") == 0


def test_another_daemon_began_at_zero() -> None:
    before = recorded(uptime=1000.0, facts__data__hits=100, daemon_pid=1)
    looks = Looks(before, recorded(uptime=4.0, facts__data__hits=20, daemon_pid=2))
    assert (looks.since_mount, looks.seconds, looks.grown("facts.data.hits")) == (True, 4.0, 20)


def test_a_folder_of_the_cache_may_have_dots_in_its_name() -> None:
    read = {"count": 2, "seconds": 0.5, "buckets": [0, 2]}
    after = recorded(facts__disk__directories={"/a.b/c": {"durations": {"read": read}}})
    assert Looks(None, after).disk_reads()["count"] == 2


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (size(0), "0 B"),
        (size(5 << 10), "5 KiB"),
        (size(1 << 20), "1 MiB"),
        (size(1536 << 20), "1.5 GiB"),
        (size(1 << 40), "1 TiB"),
        (count(1234567), "1,234,567"),
        (count(3), "3"),
        (count(2.25), "2.2"),
        (percent(0.999), "100%"),
        (percent(0.004), "0.4%"),
        (moment(None), "-"),
        (moment(0.0000005), "0.5 us"),
        (moment(0.0123), "12 ms"),
        (moment(1.26), "1.3 s"),
        (moment(300.0), "300 s"),
    ],
)
def test_numbers_in_words(said: str, text: str) -> None:
    assert said == text


def test_costs() -> None:
    looks = Looks(None, recorded(uptime=3600.0, counters={"list": 10_000, "head": 5_000, "get": 20_000, "kernel": {"READ": 9}}))
    assert "cost about 0.035 since this daemon began, 0.035 an hour as of now (CNY, list prices)" in requests(looks, Prices())
    assert "cost about 7.5 since this daemon began, 7.5 an hour as of now" in requests(looks, Prices(1.0, 5.0))


def test_the_sections_tell_of_everything_in_a_real_status() -> None:
    shown = dict(sections(Looks(None, recorded()), Prices()))
    assert "reads: 8% in memory, 14% on their way, 78% fetched" in shown["caches"]
    assert any(line.startswith("READ ") for line in shown["latency"])
    assert any(line.startswith("OSS LIST") for line in shown["latency"])
    assert shown["errors"] == ["none"]
    expired = recorded(facts__credentials__expires_in=-1.0, facts__channel__errors={"EACCES": 3})
    shown = dict(sections(Looks(None, expired), Prices()))
    assert shown["credentials"] == ["EXPIRED"] and shown["errors"] == ["EACCES 3 (3 new)"]
    soon = recorded(facts__credentials__expires_in=1800.0)
    assert dict(sections(Looks(None, soon), Prices()))["credentials"] == ["good for 30 min more"]


def test_numbers_for_programs() -> None:
    numbers = as_numbers(Looks(None, recorded(uptime=10.0)), Prices(get=1.0, put=100.0))
    assert numbers["cost"] == {"since_start": pytest.approx(0.0553), "hourly": pytest.approx(3600 * 0.00553)}
    assert numbers["credentials_seconds_left"] is None and numbers["prefetch"]["under_way"] == 0
    assert numbers["kernel"]["READ"]["rate"] == 25.9
    assert numbers["requests"] == {"list": 0.3, "head": 0.0, "get": 25.3}
    assert 0 < numbers["oss"]["get"]["p50"] < numbers["oss"]["get"]["p99"]
