"""The control plane with credentials that end while it works, against a server that refuses them then."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio

from ossmount.config import Credentials, SourceConfig
from ossmount.emulator.faults import Fault
from ossmount.emulator.server import EmulatedServer
from ossmount.errors import CredentialsRefused, Denied
from ossmount.oss.buckets import Bucket
from ossmount.oss.credentials.current import CurrentCredentials, renewed
from ossmount.oss.credentials.interface import Issued, Temporary
from tests.identity import IdentityServer

BUCKET = "data"


class Issuer:
    """A source that gives what the fake service issues."""

    name = "issuer"
    renewable = True
    watched = False

    def __init__(self, identity: IdentityServer) -> None:
        self.identity = identity
        self.failure: Exception | None = None
        self.asked = 0

    def obtain(self) -> Issued:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        made = self.identity.issue()
        return Issued(Credentials(made.access_key_id, made.access_key_secret, made.security_token), made.expires)

    def changed(self) -> bool:
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmulatedServer]:
    with EmulatedServer(tmp_path / "server") as running:
        running.store.create_bucket(BUCKET)
        running.store.put(BUCKET, b"file", b"hello")
        yield running


@pytest.fixture
def issuer(server: EmulatedServer) -> Issuer:
    return Issuer(IdentityServer(server.accounts))


def ask(
    server: EmulatedServer, issuer: Issuer, use: Callable[[Bucket, CurrentCredentials], Awaitable[None]], timeout: float
) -> None:
    async def main() -> None:
        current = CurrentCredentials(issuer)
        current.load()
        source = SourceConfig(BUCKET, endpoint=server.url, credentials=current, renew=current.renew, timeout=timeout)
        bucket = Bucket(source)
        try:
            async with renewed(current):
                await use(bucket, current)
        finally:
            bucket.close()

    trio.run(main)


def forget(server: EmulatedServer, issuer: Issuer) -> None:
    """As OSS does with temporary keys that have ended."""
    last = issuer.identity.issued[-1]
    server.accounts.add(last.access_key_id, last.access_key_secret, last.security_token, expires=time.time() - 1)


def test_a_request_that_is_refused_is_made_again_with_the_next_credentials(server: EmulatedServer, issuer: Issuer) -> None:
    async def use(bucket: Bucket, current: CurrentCredentials) -> None:
        forget(server, issuer)
        assert (await bucket.head(b"file")).size == 5
        forget(server, issuer)
        page = await bucket.list_page(b"")
        assert [info.key for info in page.objects] == [b"file"]

    ask(server, issuer, use, 60.0)
    assert issuer.asked == 3
    assert [entry.status for entry in server.requests] == [403, 200, 403, 200]


def test_it_waits_while_they_cannot_be_renewed(server: EmulatedServer, issuer: Issuer) -> None:
    async def use(bucket: Bucket, current: CurrentCredentials) -> None:
        forget(server, issuer)
        issuer.failure = Temporary("away")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bucket.head, b"file")
            while issuer.asked < 3:
                await trio.sleep(0.01)
            issuer.failure = None
        assert current.facts()["failures"] == issuer.asked - 2

    ask(server, issuer, use, 60.0)


def test_the_refusal_is_what_is_told_when_none_come_in_time(server: EmulatedServer, issuer: Issuer) -> None:
    async def use(bucket: Bucket, current: CurrentCredentials) -> None:
        forget(server, issuer)
        issuer.failure = Temporary("away")
        with pytest.raises(CredentialsRefused, match="SecurityTokenExpired"):
            await bucket.head(b"file")

    ask(server, issuer, use, 2.0)


def test_what_the_credentials_do_not_allow_renews_nothing(server: EmulatedServer, issuer: Issuer) -> None:
    async def use(bucket: Bucket, current: CurrentCredentials) -> None:
        server.faults.add(Fault(code="AccessDenied", status=403))
        with pytest.raises(Denied, match="AccessDenied"):
            await bucket.head(b"file")

    ask(server, issuer, use, 60.0)
    assert issuer.asked == 1 and len(server.requests) == 1
