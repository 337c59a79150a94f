"""Our signatures against those of oss2's own auth objects, for the same request at the same moment."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from unittest import mock

import hypothesis
import oss2
import oss2.http
import pytest
from hypothesis import strategies as st

from ossmount.config import Credentials, SourceConfig
from ossmount.oss.signing import Signer

# 2026-11-21T23:59:58Z and one second into the next day
EVENING, MORNING = 1795305598.25, 1795305601.0
FIXED = Credentials("an-id", "a-secret")
TEMPORARY = Credentials("STS.id", "a-secret", "a-token/with+signs==")


def source(credentials: Credentials, region: str) -> SourceConfig:
    return SourceConfig("some-bucket", region=region, endpoint="http://127.0.0.1", credentials=lambda: credentials)


@contextmanager
def oss2_clock(moment: float) -> Iterator[None]:
    """oss2 asks two clocks of its own: utils.http_date() and datetime.utcnow()."""
    fixed = mock.Mock(wraps=datetime.datetime)
    fixed.utcnow.return_value = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).replace(tzinfo=None)
    with (
        mock.patch("oss2.auth.datetime", fixed),
        mock.patch("oss2.utils.http_date", lambda: formatdate(moment, usegmt=True)),
    ):
        yield


def of_oss2(
    credentials: Credentials,
    region: str,
    moment: float,
    method: str,
    key: bytes,
    headers: dict[str, str],
    query: dict[str, str],
) -> dict[str, str]:
    version = oss2.AUTH_VERSION_4 if region else oss2.AUTH_VERSION_1
    auth = oss2.StsAuth(
        credentials.access_key_id, credentials.access_key_secret, credentials.security_token, auth_version=version
    )
    request = oss2.http.Request(
        method, "http://127.0.0.1/", params=dict(query), headers=dict(headers), region=region or None, product="oss"
    )
    with oss2_clock(moment):
        auth._sign_request(request, "some-bucket", key.decode())
    ignored = ("accept-encoding", "user-agent")
    return {name.lower(): value for name, value in request.headers.items() if name.lower() not in ignored}


@pytest.mark.parametrize("credentials", [FIXED, TEMPORARY], ids=["fixed", "temporary"])
@pytest.mark.parametrize("region", ["", "cn-hangzhou"], ids=["V1", "V4"])
@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    moment=st.sampled_from([EVENING, MORNING]),
    method=st.sampled_from(["GET", "HEAD"]),
    key=st.text(st.characters(codec="utf-8"), max_size=40).map(str.encode),
    headers=st.dictionaries(
        st.sampled_from(["Range", "If-Match", "x-oss-range-behavior", "Content-Type", "Content-MD5", "X-Oss-Traffic-Limit"]),
        st.text("abc=/-, 019", max_size=12).map(str.strip),
    ),
    query=st.dictionaries(
        st.sampled_from(["prefix", "continuation-token", "symlink", "list-type", "start-after", "objectMeta"]),
        st.text("aB/~ é%+=&", max_size=8),
    ),
)
def test_signature_is_that_of_oss2(
    credentials: Credentials,
    region: str,
    moment: float,
    method: str,
    key: bytes,
    headers: dict[str, str],
    query: dict[str, str],
) -> None:
    signer = Signer(source(credentials, region), clock=lambda: moment)
    ours = {name.lower(): value for name, value in signer.headers(method, key, headers, query)}
    assert ours == of_oss2(credentials, region, moment, method, key, headers, query)


def test_derived_key_follows_the_day_and_the_secret() -> None:
    credentials = [FIXED]
    moment = [EVENING]
    signer = Signer(
        SourceConfig("some-bucket", region="oss-cn-hangzhou", credentials=lambda: credentials[0]), lambda: moment[0]
    )

    def check() -> None:
        ours = {name.lower(): value for name, value in signer.headers("GET", b"k", {})}
        assert ours == of_oss2(credentials[0], "cn-hangzhou", moment[0], "GET", b"k", {}, {})

    check()
    moment[0] = MORNING
    check()
    credentials[0] = TEMPORARY
    check()


def test_anonymous_requests_carry_no_signature() -> None:
    signer = Signer(SourceConfig("some-bucket", region="cn-hangzhou"))
    assert signer.headers("GET", b"k", {"Range": "bytes=0-1"}) == [("Range", "bytes=0-1")]


def test_repr_shows_no_secret() -> None:
    assert repr(Signer(source(TEMPORARY, "cn-beijing"))) == "<Signer some-bucket V4 cn-beijing>"
