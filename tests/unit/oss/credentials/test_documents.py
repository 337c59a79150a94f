from __future__ import annotations

import json

import pytest

from ossmount.config import Credentials
from ossmount.oss.credentials.documents import masked, parse_document
from ossmount.oss.credentials.interface import CredentialsError, Issued

KEYS = {"AccessKeyId": "STS.id", "AccessKeySecret": "s3cret", "SecurityToken": "t"}


@pytest.mark.parametrize(
    ("expiration", "expires"),
    [
        ("2026-11-21T15:47:04Z", 1795276024.0),
        ("2026-11-21T23:47:04+08:00", 1795276024.0),
        ("2026-11-21T15:47:04", 1795276024.0),
        ("", None),
        (None, None),
    ],
)
def test_expiration(expiration: str | None, expires: float | None) -> None:
    data = json.dumps({**KEYS, "Expiration": expiration, "Code": "Success"}).encode()
    assert parse_document(data, "it") == Issued(Credentials("STS.id", "s3cret", "t"), expires)


def test_as_the_aliyun_cli_spells_it() -> None:
    document = {"mode": "StsToken", "access_key_id": "STS.id", "access_key_secret": "s3cret", "sts_token": "t"}
    assert parse_document(json.dumps(document).encode(), "it").credentials == Credentials("STS.id", "s3cret", "t")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ("{}", "no text for AccessKeyId"),
        ('{"AccessKeyId": "id"}', "no text for AccessKeySecret"),
        ('{"AccessKeyId": "", "AccessKeySecret": "s3cret"}', "no text for AccessKeyId"),
        ('{"AccessKeyId": 1, "AccessKeySecret": "s3cret"}', "no text for AccessKeyId"),
        ('{"AccessKeyId": "id", "AccessKeySecret": "s3cret\\n"}', "AccessKeySecret in it contains"),
        ('{"AccessKeyId": "id", "AccessKeySecret": "s3cret", "Expiration": "soon"}', "an Expiration unlike"),
        ('{"AccessKeyId": "id", "AccessKeySecret": "s3cret", "Expiration": 7}', "an Expiration unlike"),
        ('{"Code": "Failed", "AccessKeyId": "id", "AccessKeySecret": "s3cret"}', "says Code 'Failed'"),
        (" " * 70_000 + "s3cret", "more than 65536 bytes"),
    ],
)
def test_what_is_no_credentials(text: str, message: str) -> None:
    with pytest.raises(CredentialsError, match=message) as caught:
        parse_document(text.encode(), "it")
    assert "s3cret" not in str(caught.value)


def test_nothing_as_long_as_a_key_is_shown() -> None:
    said = "cannot reach sts.cn-hangzhou.aliyuncs.com\nkey=LTAI5tQK7nGvEXAMPLE3m secret 8bUkGq2wEXAMPLEp0Vd7rX1yZ2aB3c"
    assert masked(said) == "cannot reach sts.cn-hangzhou.aliyuncs.com *** secret ***"
    assert len(masked("word " * 1000)) == 200
