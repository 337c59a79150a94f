"""Who is let in, and with which of OSS's own codes everybody else is refused."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oss2
import pytest
from oss2 import utils

from ossmount.emulator.server import EmulatedServer

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


@pytest.fixture(params=["v1", "v4"])
def signature(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def accounts(server: EmulatedServer) -> Iterator[EmulatedServer]:
    """The server; what a test changes in its accounts is undone."""
    server.accounts.add("STS.id", "sts-secret", "the token")
    yield server
    server.accounts.anonymous = False
    for name in ("STS.id", "second-id"):
        server.accounts.remove(name)


def refusal(server: EmulatedServer, auth: Any, session: Any) -> tuple[int, str]:
    """How a GET is refused; (200, "") when it is not."""
    server.store.put("bucket", b"key", b"data")
    bucket = oss2.Bucket(auth, server.url, "bucket", region="cn-hangzhou", session=session)
    try:
        assert bucket.get_object("key").read() == b"data"
    except oss2.exceptions.ServerError as error:
        assert server.requests[-1].code == error.code and server.requests[-1].status == error.status
        return error.status, error.code
    return 200, ""


def test_keys_and_signatures(accounts: EmulatedServer, session: Any, signature: str) -> None:
    assert refusal(accounts, oss2.make_auth("test-id", "test-secret", signature), session) == (200, "")
    wrong_key = oss2.make_auth("nobody", "test-secret", signature)
    assert refusal(accounts, wrong_key, session) == (403, "InvalidAccessKeyId")
    wrong_secret = oss2.make_auth("test-id", "wrong", signature)
    assert refusal(accounts, wrong_secret, session) == (403, "SignatureDoesNotMatch")


def test_security_tokens(accounts: EmulatedServer, session: Any, signature: str) -> None:
    right = oss2.StsAuth("STS.id", "sts-secret", "the token", signature)
    assert refusal(accounts, right, session) == (200, "")
    wrong = oss2.StsAuth("STS.id", "sts-secret", "another token", signature)
    assert refusal(accounts, wrong, session) == (403, "InvalidSecurityToken")
    missing = oss2.make_auth("STS.id", "sts-secret", signature)
    assert refusal(accounts, missing, session) == (403, "InvalidAccessKeyId")
    needless = oss2.StsAuth("test-id", "test-secret", "the token", signature)
    assert refusal(accounts, needless, session) == (403, "InvalidAccessKeyId")
    accounts.accounts.add("STS.id", "sts-secret", "the token", expires=time.time() - 1)
    assert refusal(accounts, right, session) == (403, "SecurityTokenExpired")


def test_a_presigned_url_carries_its_token(accounts: EmulatedServer, session: Any, signature: str) -> None:
    accounts.store.put("bucket", b"key", b"data")
    auth = oss2.StsAuth("STS.id", "sts-secret", "the token", signature)
    bucket = oss2.Bucket(auth, accounts.url, "bucket", region="cn-hangzhou", session=session)
    url = bucket.sign_url("GET", "key", 60)
    assert bucket.get_object_with_url(url).read() == b"data"
    with pytest.raises(oss2.exceptions.ServerError) as failure:
        bucket.get_object_with_url(url.replace("the%20token", "no%20token"))
    assert failure.value.code == "InvalidSecurityToken"


def test_keys_can_be_added_and_removed_while_it_runs(accounts: EmulatedServer, session: Any, signature: str) -> None:
    auth = oss2.make_auth("second-id", "secret", signature)
    assert refusal(accounts, auth, session) == (403, "InvalidAccessKeyId")
    accounts.accounts.add("second-id", "secret")
    assert refusal(accounts, auth, session) == (200, "")
    accounts.accounts.remove("second-id")
    assert refusal(accounts, auth, session) == (403, "InvalidAccessKeyId")


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_skewed_clock(
    accounts: EmulatedServer, session: Any, signature: str, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    skewed = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)

    class Skewed:
        @staticmethod
        def utcnow() -> datetime.datetime:
            return skewed

    monkeypatch.setattr("oss2.auth.datetime", Skewed)
    monkeypatch.setattr(utils, "http_date", lambda: skewed.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    auth = oss2.make_auth("test-id", "test-secret", signature)
    assert refusal(accounts, auth, session) == (403, "RequestTimeTooSkewed")


def test_anonymous_access(accounts: EmulatedServer, session: Any) -> None:
    nobody = oss2.AnonymousAuth()
    assert refusal(accounts, nobody, session) == (403, "AccessDenied")
    accounts.accounts.anonymous = True
    assert refusal(accounts, nobody, session) == (200, "")
    accounts.accounts.anonymous = False
    accounts.store.writable("bucket").set_acl("public-read")
    assert refusal(accounts, nobody, session) == (200, "")
    bucket = oss2.Bucket(nobody, accounts.url, "bucket", session=session)
    with pytest.raises(oss2.exceptions.AccessDenied):
        bucket.list_objects()
    with pytest.raises(oss2.exceptions.AccessDenied):
        bucket.put_object("key", b"")


def test_a_server_with_a_token_of_its_own(tmp_path: Path, session: Any) -> None:
    with EmulatedServer(tmp_path, access_key_id="id", access_key_secret="secret", security_token="token") as server:
        assert refusal(server, oss2.StsAuth("id", "secret", "token"), session) == (200, "")
