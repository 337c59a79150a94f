"""A running server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import oss2
import pytest

from ossmount.emulator.server import EmulatedServer


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients ask the server itself, whatever the environment says."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedServer]:
    with EmulatedServer(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def server(running_server: EmulatedServer) -> EmulatedServer:
    """The server of the whole session, as good as new: one empty bucket, no faults, nothing recorded."""
    store = running_server.store
    running_server.faults.clear()
    running_server.drop_connections()
    limit = time.monotonic() + 30
    while running_server.requests.in_flight:
        assert time.monotonic() < limit
        time.sleep(0.005)
    for name in store.names():
        bucket = store.writable(name)
        with bucket.lock:
            bucket.db.execute("DELETE FROM uploads")
            bucket.db.execute("DELETE FROM parts")
        for key in store.keys(name):
            store.delete(name, key)
        store.delete_bucket(name)
    store.create_bucket("bucket")
    running_server.requests.clear()
    return running_server


class TidySession:
    """A session for oss2 that closes everything: oss2 leaves the connections of bodies that nobody reads to the collector."""

    def __init__(self) -> None:
        self._session = oss2.Session()
        self._responses: list[Any] = []

    def do_request(self, request: Any, timeout: Any) -> Any:
        response = self._session.do_request(request, timeout)
        self._responses.append(response.response)
        return response

    def close(self) -> None:
        for response in self._responses:
            response.close()
        self._session.session.close()


@pytest.fixture
def session() -> Iterator[TidySession]:
    made = TidySession()
    yield made
    made.close()
