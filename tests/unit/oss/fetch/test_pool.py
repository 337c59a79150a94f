"""Fetches through real fetch processes from an honest server."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import trio

import ossmount
from ossmount.config import Credentials, FetchConfig
from ossmount.errors import Changed, CredentialsRefused, Denied, Unavailable
from ossmount.oss.fetch.pool import FetchPool
from tests.unit.oss.fetch.scripted import (
    CREDENTIALS,
    Action,
    Request,
    Wanted,
    fetch_all,
    head,
    honest,
    serving,
    source,
    wait_until,
)


def _data(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def test_fetches_whole_objects_ranges_and_pieces() -> None:
    data = _data(300_000)
    with serving(lambda request: [honest(data, "E1", request)]) as server:
        wanted = [
            Wanted(b"whole", data),
            Wanted(b"whole in pieces", data, pieces=7),
            Wanted(b"head", data, length=1),
            Wanted(b"tail", data, start=299_999),
            Wanted(b"middle", data, start=1000, length=100_000, pieces=300),
            Wanted("odd/./../ключ %25?#\r\n".encode(), data, start=5, length=10),
        ]
        fetch_all(source(server.url, credentials=lambda: CREDENTIALS), wanted, workers=2)
        assert [item.key for item in wanted if not item.right] == []
        asked = {request.key: request.headers for request in server.requests}
    assert asked.keys() == {item.key for item in wanted}
    assert "range" not in asked[b"whole"]
    assert asked[b"tail"]["range"] == "bytes=299999-299999"
    assert asked[b"tail"]["x-oss-range-behavior"] == "standard"
    assert {headers["if-match"] for headers in asked.values()} == {'"E1"'}
    assert all(headers["authorization"].startswith("OSS test-id:") for headers in asked.values())


def test_connections_are_kept_and_bounded() -> None:
    data = _data(5_000)
    with serving(lambda request: [honest(data, "E1", request)]) as server:
        wanted = [Wanted(b"%d" % number, data, demand=number % 2 == 0) for number in range(400)]
        facts = fetch_all(source(server.url), wanted, connections=4)
        assert all(item.right for item in wanted)
        assert server.connections <= 4
        assert len(server.requests) == 400
    assert facts["outstanding"] == 0


def test_fewer_connections_may_be_used_while_it_runs() -> None:
    """Also by a process that takes over from one that died."""
    data = _data(5_000)
    release = threading.Event()

    def script(request: Request) -> list[Action]:
        return [release, honest(data, "E1", request)]

    with serving(script) as server:

        def look(pool: FetchPool, _numbers: list[int]) -> None:
            wait_until(lambda: len(server.requests) == 16)
            trio.from_thread.run_sync(pool.allow, 3)
            os.kill(pool.pids()[0], signal.SIGKILL)
            wait_until(lambda: len(server.requests) >= 19)
            time.sleep(0.2)  # in front of what must not come
            seen.append(len(server.requests))
            trio.from_thread.run_sync(pool.allow, 1000)
            wait_until(lambda: len(server.requests) == 32)
            release.set()

        seen: list[int] = []
        wanted = [Wanted(b"%d" % number, data) for number in range(40)]
        fetch_all(source(server.url), wanted, connections=16, during=look)
    assert all(item.right for item in wanted)
    assert seen == [19]


def test_an_object_that_changed_is_told() -> None:
    data = _data(1_000)
    with serving(lambda request: [honest(data, "E2", request)]) as server:
        wanted = [Wanted(b"a", data), Wanted(b"b", data, etag="E2")]
        fetch_all(source(server.url), wanted)
        assert isinstance(wanted[0].failure, Changed)
        assert wanted[1].right
        assert len(server.requests) == 2


def test_progress_of_ranges_only() -> None:
    data = _data(4 << 20)
    with serving(lambda request: [honest(data, "E1", request)]) as server:
        wanted = [Wanted(b"whole", data), Wanted(b"range", data, start=1)]
        fetch_all(source(server.url), wanted)
    assert all(item.right for item in wanted)
    assert wanted[0].progress == []
    assert wanted[1].progress == sorted(wanted[1].progress)
    assert all(0 < received < wanted[1].length for received in wanted[1].progress)


def test_progress_of_readahead_once_a_reader_waits_for_it() -> None:
    data = _data(4 << 20)
    rest = threading.Event()
    half = 2 << 20

    def script(request: Request) -> list[Action]:
        answer = honest(data, "E1", request)
        if request.key == b"ahead":
            return [answer[:half], rest, answer[half:]]
        wait_until(lambda: any(other.key == b"ahead" for other in server.requests))
        return [answer]

    def promote(pool: FetchPool, numbers: list[int]) -> None:
        wait_until(lambda: wanted[1].calls == 1)  # by then some of the other one has come as well
        assert wanted[0].progress == []
        trio.from_thread.run_sync(pool.promote, numbers[0])
        wait_until(lambda: bool(wanted[0].progress))
        rest.set()

    with serving(script) as server:
        wanted = [Wanted(b"ahead", data, start=1, demand=False), Wanted(b"now", data, start=1)]
        fetch_all(source(server.url), wanted, during=promote)
    assert all(item.right for item in wanted)
    assert all(0 < received < wanted[0].length for received in wanted[0].progress)


def test_an_etag_that_no_header_can_carry() -> None:
    with serving(lambda request: []) as server:
        wanted = [Wanted(b"a", b"x", etag='E"\r\nX-Evil: 1')]
        fetch_all(source(server.url), wanted)
        assert isinstance(wanted[0].failure, Unavailable)
        assert server.requests == []


def test_credentials_sign_and_are_asked_for_again() -> None:
    asked: list[int] = []

    def credentials() -> Credentials:
        asked.append(1)
        return Credentials(f"id{len(asked)}", "secret", "token")

    with serving(lambda request: [honest(b"0123456789", "E1", request)]) as server:
        wanted = [Wanted(b"a", b"0123456789")]
        fetch_all(source(server.url, credentials=credentials), wanted)
        (request,) = server.requests
    assert wanted[0].right
    assert request.headers["x-oss-security-token"] == "token"
    assert request.headers["authorization"].startswith(f"OSS id{len(asked)}:")


@pytest.mark.parametrize("renewed", [True, False])
def test_denied_with_credentials_that_have_changed_since(renewed: bool) -> None:
    """The token expires at the server before the daemon has told the process of the new one."""
    token = ["old"]

    def script(request: Request) -> list[Action]:
        if request.headers["x-oss-security-token"] == "new":
            return [honest(b"0123456789", "E1", request)]
        if renewed:
            token[0] = "new"
        return [head("403 Forbidden", "Content-Length: 0")]

    with serving(script) as server:
        wanted = [Wanted(b"%d" % number, b"0123456789") for number in range(20)]
        fetch_all(source(server.url, credentials=lambda: Credentials("id", "secret", token[0])), wanted)
    if renewed:
        assert [item.failure for item in wanted if not item.right] == []
    else:
        assert {type(item.failure) for item in wanted} == {Denied}
        assert len(server.requests) == 20


EXPIRED = b"<Error><Code>SecurityTokenExpired</Code></Error>"


class Tokens:
    """Credentials of which the server takes the newest only."""

    def __init__(self) -> None:
        self.newest = 0
        self.asked = 0
        self.gives_up = False

    def __call__(self) -> Credentials:
        return Credentials("id", "secret", f"token-{self.newest}")

    async def renew(self, refused: Credentials | None) -> bool:
        self.asked += 1
        while refused == self():
            if self.gives_up:
                return False
            await trio.sleep(0.01)
        return True

    def script(self, request: Request) -> list[Action]:
        if request.headers["x-oss-security-token"] == f"token-{self.newest}" and self.newest:
            return [honest(b"0123456789", "E1", request)]
        return [head("403 Forbidden", f"Content-Length: {len(EXPIRED)}") + EXPIRED]


def test_what_is_refused_for_its_token_waits_for_the_next_one() -> None:
    tokens = Tokens()

    def renew(pool: FetchPool, _numbers: list[int]) -> None:
        wait_until(lambda: tokens.asked == 20)
        tokens.newest = 1

    with serving(tokens.script) as server:
        wanted = [Wanted(b"%d" % number, b"0123456789") for number in range(20)]
        fetch_all(source(server.url, credentials=tokens, renew=tokens.renew), wanted, during=renew)
        assert len(server.requests) == 40
    assert all(item.right for item in wanted)
    assert all(item.calls == 1 for item in wanted)


def test_what_is_refused_fails_where_no_other_token_comes() -> None:
    tokens = Tokens()
    tokens.gives_up = True
    with serving(tokens.script) as server:
        wanted = [Wanted(b"%d" % number, b"0123456789") for number in range(20)]
        fetch_all(source(server.url, credentials=tokens, renew=tokens.renew), wanted)
        assert len(server.requests) == 20
    assert {type(item.failure) for item in wanted} == {CredentialsRefused}


def test_what_waits_for_a_token_ends_at_its_deadline_and_when_it_is_cancelled() -> None:
    tokens = Tokens()

    def cancel(pool: FetchPool, numbers: list[int]) -> None:
        wait_until(lambda: tokens.asked == 2)
        trio.from_thread.run_sync(pool.cancel, numbers[0])
        wait_until(lambda: wanted[0].calls == 1)
        assert isinstance(wanted[0].failure, Unavailable) and wanted[1].calls == 0
        os.kill(pool.pids()[0], signal.SIGKILL)  # its successor is given what waits for nothing
        trio.from_thread.run_sync(pool.promote, numbers[1])

    with serving(tokens.script) as server:
        wanted = [Wanted(b"a", b"0123456789", demand=False), Wanted(b"b", b"0123456789", demand=False)]
        config = source(server.url, credentials=tokens, renew=tokens.renew, timeout=3.0)
        fetch_all(config, wanted, during=cancel)
        assert len(server.requests) == 2
    assert isinstance(wanted[1].failure, CredentialsRefused)


def test_without_any_credentials_nothing_is_asked_until_there_are_some() -> None:
    tokens = Tokens()

    def credentials() -> Credentials:
        if not tokens.newest:
            raise CredentialsRefused("there are no credentials yet")
        return tokens()

    async def renew(refused: Credentials | None) -> bool:
        assert refused is None
        tokens.asked += 1
        while not tokens.newest:
            await trio.sleep(0.01)
        return True

    def give(pool: FetchPool, _numbers: list[int]) -> None:
        wait_until(lambda: tokens.asked == 3)
        assert server.requests == []
        tokens.newest = 1

    with serving(tokens.script) as server:
        wanted = [Wanted(b"%d" % number, b"0123456789") for number in range(3)]
        fetch_all(source(server.url, credentials=credentials, renew=renew), wanted, during=give)
        assert len(server.requests) == 3
    assert all(item.right for item in wanted)


def test_refuses_an_unusable_proxy() -> None:
    with pytest.raises(ValueError, match="--proxy"):
        FetchPool(source("http://127.0.0.1:1", proxy="socks5://x"), FetchConfig(), 0, 0, environment={})


def test_the_environment_of_a_process_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "hidden-1234")
    data = _data(10)
    seen: list[bytes] = []

    def look(pool: FetchPool, _numbers: list[int]) -> None:
        for pid in pool.pids():
            for name in ("environ", "cmdline"):
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    seen.append(file.read())

    with serving(lambda request: [honest(data, "E1", request)]) as server:
        fetch_all(
            source(server.url, credentials=lambda: CREDENTIALS), [Wanted(b"a", data)], during=look, environment=dict(os.environ)
        )
    assert len(seen) == 2
    assert not any(b"hidden-1234" in text or b"test-secret" in text for text in seen)


def test_request_keys_survive_quoting() -> None:
    request = Request(1, "GET", "/bucket/a%2Fb/%2E", {}, 0)
    assert request.key == b"a/b/."


def test_a_process_finds_ossmount_where_no_path_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable installation is imported by a hook that the process does not have."""
    root = Path(ossmount.__file__).parent.parent
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).resolve() != root.resolve()])
    with serving(lambda request: [honest(b"0123456789", "E1", request)]) as server:
        wanted = [Wanted(b"a", b"0123456789")]
        fetch_all(source(server.url), wanted)
    assert wanted[0].right
