"""What the soak says of its samples, the tokens that it hands out, and how it counts events. The run itself is long."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.processes import CHECKOUT, own_environment
from benchmarks.soak import day
from benchmarks.soak.samples import Sample, courses
from benchmarks.soak.tokens import Tokens
from ossmount.emulator.accounts import Accounts

MIB = 1 << 20


def growing(name: str, values: list[int], settling: int = 0) -> bool:
    samples = [Sample(5.0 * number, number < settling, pss={"daemon": 0}) for number in range(len(values))]
    for sample, value in zip(samples, values, strict=True):
        sample.own["daemon"], sample.descriptors["daemon"], sample.tasks = value * MIB, value, value
    return next(course for course in courses(samples) if course.name == name).grows


@pytest.mark.parametrize("name", ["own memory of daemon", "descriptors of daemon", "tasks"])
def test_what_grows_is_told_from_what_is_level(name: str) -> None:
    assert growing(name, list(range(50, 130, 2)))
    assert not growing(name, [50, 52] * 20)
    assert not growing(name, [50] * 20 + [90] + [50] * 19)  # one peak


def test_what_the_mount_took_until_it_had_settled_is_no_growth() -> None:
    values = list(range(20)) + [20] * 40
    assert growing("own memory of daemon", values)
    assert not growing("own memory of daemon", values, settling=20)


class Known(Accounts):
    """Tells whose keys are valid."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def add(
        self, access_key_id: str, access_key_secret: str, security_token: str = "", *, expires: float = float("inf")
    ) -> None:
        super().add(access_key_id, access_key_secret, security_token, expires=expires)
        self.names.add(access_key_id)

    def remove(self, access_key_id: str) -> None:
        super().remove(access_key_id)
        self.names.remove(access_key_id)


class Turns(threading.Event):
    """Ends what waits for it at the turn after so many."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.turns = turns
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        return len(self.waited) > self.turns


def test_a_token_comes_at_half_of_the_former_ones_life_and_each_tenth_too_late(tmp_path: Path) -> None:
    accounts, turns = Known(), Turns(11)
    tokens = Tokens(accounts, tmp_path / "credentials", 60.0)
    tokens.run(turns)
    written = json.loads(tokens.file.read_text())
    assert tokens.issued == 12 and written["AccessKeyId"] == "STS.soak00000012" and written["Expiration"].endswith("Z")
    assert tokens.file.stat().st_mode & 0o777 == 0o600
    assert turns.waited == [30.0] * 9 + [66.0] + [30.0] * 2
    assert accounts.names == {f"STS.soak{number:08}" for number in (9, 10, 11, 12)}


def test_events_are_counted_between_two_answers_of_status() -> None:
    before = {"counters": {"get": 5}, "facts": {"disk": {"directories": {"/a.b": {"evicted": 1}, "/c": {"evicted": 2}}}}}
    after = {
        "counters": {"get": 9, "kernel": {"FORGET": 2, "BATCH_FORGET": 3}},
        "facts": {"disk": {"directories": {"/a.b": {"evicted": 4}, "/c": {"evicted": 2}}}},
    }
    events = day.events(before, after)
    assert events["GETs"] == 4 and events["FORGETs (batches count once)"] == 5
    assert events["files evicted from the cache on disk"] == 3 and day.evicted(after) == 6


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_a_short_one_settles_and_finds_no_error(tmp_path: Path) -> None:
    """Too short to tell what grows: only that all of it works together."""
    words = ["--minutes", "1", "--settle", "15", "--every", "3", "--folders", "20", "--json", str(tmp_path / "soak.json")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *words],
        cwd=CHECKOUT,
        env=own_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FAILED" not in done.stdout and "flat  tasks" in done.stdout, done.stdout + done.stderr
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["events"]["renewals of credentials"] > 0 and found["events"]["GETs"] > 0
    assert (tmp_path / "soak.png").stat().st_size > 10_000
