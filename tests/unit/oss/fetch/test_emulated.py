"""The data plane against the embedded server: signatures as OSS checks them, and its faults."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from ossmount.config import Credentials
from ossmount.emulator.faults import Fault
from ossmount.emulator.server import EmulatedServer
from ossmount.errors import Archived, Changed, Damaged, Denied
from tests.unit.oss.fetch.scripted import Wanted, fetch_all, source

DATA = random.Random(5).randbytes(150_000)
ETAG = hashlib.md5(DATA).hexdigest().upper()
KEYS = [b"a", "b/ü + %/ö?&=#".encode(), b"c//d/../e", b"sp ace\tt\x01\x7f"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmulatedServer]:
    with EmulatedServer(tmp_path, security_token="token") as server:
        for key in KEYS:
            server.store.put("bucket", key, DATA)
        yield server


def _credentials(secret: str = "test-secret") -> Credentials:
    return Credentials("test-id", secret, "token")


@pytest.mark.parametrize("region", ["", "cn-hangzhou"])
def test_signatures_are_accepted(server: EmulatedServer, region: str) -> None:
    wanted = [Wanted(key, DATA, etag=ETAG, start=start) for key in KEYS for start in (0, 100_000)]
    fetch_all(source(server.url, region=region, credentials=_credentials), wanted)
    assert [(item.key, item.failure) for item in wanted if not item.right] == []


def test_a_wrong_secret_is_denied(server: EmulatedServer) -> None:
    wanted = [Wanted(b"a", DATA, etag=ETAG)]
    fetch_all(source(server.url, credentials=lambda: _credentials("wrong")), wanted)
    assert isinstance(wanted[0].failure, Denied)
    assert "SignatureDoesNotMatch" in str(wanted[0].failure)


@pytest.mark.parametrize("region", ["", "cn-hangzhou"])
def test_a_wrong_clock_is_put_right_by_the_first_refusals(server: EmulatedServer, region: str) -> None:
    server.accounts.ahead = -7200.0
    wanted = [Wanted(KEYS[number % 4], DATA, etag=ETAG, start=number) for number in range(20)]
    facts = fetch_all(source(server.url, region=region, credentials=_credentials), wanted, connections=4)
    assert [(item.key, item.failure) for item in wanted if not item.right] == []
    assert 1 <= cast(int, facts["resigned"]) <= 4  # those that were under way when the first refusal came


def test_a_clock_that_stays_refused_is_asked_about_once(server: EmulatedServer) -> None:
    server.faults.add(Fault(code="RequestTimeTooSkewed"))
    wanted = [Wanted(b"a", DATA, etag=ETAG)]
    fetch_all(source(server.url, credentials=_credentials), wanted)
    assert isinstance(wanted[0].failure, Denied)
    assert server.requests.count("GET") == 2


def test_archived_gone_and_replaced(server: EmulatedServer) -> None:
    server.store.put("bucket", b"cold", DATA, storage_class="Archive")
    server.store.put("bucket", b"new", DATA[::-1])
    wanted = [Wanted(b"cold", DATA, etag=ETAG), Wanted(b"gone", DATA, etag=ETAG), Wanted(b"new", DATA, etag=ETAG)]
    fetch_all(source(server.url, credentials=_credentials), wanted)
    assert [type(item.failure) for item in wanted] == [Archived, Changed, Changed]


def test_random_faults_cost_time_and_no_byte(server: EmulatedServer) -> None:
    faults = [
        Fault(probability=0.1, reset=True),
        Fault(probability=0.1, reset_after=70_000),
        Fault(probability=0.1, truncate_after=99_999),
        Fault(probability=0.1, truncate_after=0),
        Fault(probability=0.1, code="InternalError"),
        Fault(probability=0.1, code="QpsLimitExceeded"),
        Fault(probability=0.1, latency=0.05),
    ]
    for fault in faults:
        server.faults.add(fault)
    wanted = [Wanted(KEYS[number % 4], DATA, etag=ETAG, start=number % 3 * 1000) for number in range(150)]
    facts = fetch_all(source(server.url, credentials=_credentials), wanted, connections=16)
    assert [(item.key, item.failure) for item in wanted if not item.right] == []
    assert facts["retries"] != 0


def test_one_corrupted_body_is_fetched_again_and_two_are_an_error(server: EmulatedServer) -> None:
    server.faults.add(Fault(keys="a", corrupt_at=77_777, count=1))
    server.faults.add(Fault(keys="b/*", corrupt_at=77_777))
    wanted = [Wanted(KEYS[0], DATA, etag=ETAG), Wanted(KEYS[1], DATA, etag=ETAG)]
    facts = fetch_all(source(server.url, credentials=_credentials), wanted)
    assert wanted[0].right
    assert isinstance(wanted[1].failure, Damaged)
    assert facts["damaged"] == 3
