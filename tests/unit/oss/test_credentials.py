from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest

from ossmount.config import Credentials
from ossmount.oss.credentials import FileCredentials, environment_credentials


def write(path: Path, **fields: object) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(fields))
    temporary.replace(path)


def test_environment() -> None:
    given = {"OSS_ACCESS_KEY_ID": "id", "OSS_ACCESS_KEY_SECRET": "s3cret\n", "OSS_SECURITY_TOKEN": "token"}
    assert environment_credentials(given)() == Credentials("id", "s3cret", "token")
    assert environment_credentials({})().anonymous
    assert "s3cret" not in repr(environment_credentials(given)())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"OSS_ACCESS_KEY_ID": "id"}, "OSS_ACCESS_KEY_SECRET is not"),
        ({"OSS_ACCESS_KEY_SECRET": "s3cret"}, "OSS_ACCESS_KEY_ID is not"),
        ({"OSS_SECURITY_TOKEN": "s3cret"}, "OSS_SECURITY_TOKEN is set but OSS_ACCESS_KEY_ID is not"),
        ({"OSS_ACCESS_KEY_ID": "id", "OSS_ACCESS_KEY_SECRET": "s3cret\r\nx: y"}, "OSS_ACCESS_KEY_SECRET contains"),
    ],
)
def test_environment_that_cannot_be(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        environment_credentials(given)
    assert "s3cret" not in str(caught.value)


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    write(path, AccessKeyId="id", AccessKeySecret="s3cret")
    credentials = FileCredentials(path)
    assert credentials() == Credentials("id", "s3cret", "")
    assert repr(credentials) == f"<FileCredentials {path}>"
    write(
        path,
        AccessKeyId="STS.id",
        AccessKeySecret="other",
        SecurityToken="t",
        Expiration="2099-01-01T00:00:00Z",
        Code="Success",
    )
    assert credentials() == Credentials("STS.id", "other", "t")


def test_file_rewritten_in_place_with_the_same_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    moment = time.time_ns()
    path.write_text(json.dumps({"AccessKeyId": "id", "AccessKeySecret": "one"}))
    os.utime(path, ns=(moment, moment))
    credentials = FileCredentials(path)
    path.write_text(json.dumps({"AccessKeyId": "id", "AccessKeySecret": "two"}))
    os.utime(path, ns=(moment, moment))
    assert credentials().access_key_secret == "two"


def test_old_file_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    write(path, AccessKeyId="id", AccessKeySecret="one")
    os.utime(path, (1000, 1000))
    credentials = FileCredentials(path)
    path.write_text("{" + " " * (path.stat().st_size - 1))  # broken, but with the old size and time: not looked into
    os.utime(path, (1000, 1000))
    assert credentials().access_key_secret == "one"
    write(path, AccessKeyId="id", AccessKeySecret="two")
    os.utime(path, (1001, 1001))
    assert credentials().access_key_secret == "two"


def test_broken_or_missing_file_keeps_what_was_read_and_complains_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "credentials.json"
    write(path, AccessKeyId="id", AccessKeySecret="one")
    credentials = FileCredentials(path)
    path.write_text('{"AccessKeyId": "id", "Acc')
    assert [credentials().access_key_secret for _ in range(3)] == ["one"] * 3
    path.unlink()
    assert [credentials().access_key_secret for _ in range(3)] == ["one"] * 3
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2 and "is no JSON" in warnings[0] and "No such file" in warnings[1]
    write(path, AccessKeyId="id", AccessKeySecret="two")
    assert credentials().access_key_secret == "two"


def test_expired_credentials_are_reported_and_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "credentials.json"
    write(path, AccessKeyId="id", AccessKeySecret="one", SecurityToken="t", Expiration="2020-01-01T00:00:00Z")
    assert FileCredentials(path)().security_token == "t"
    assert "expired at 2020-01-01T00:00:00Z" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("[]", "no JSON object"),
        ("{}", "no text for AccessKeyId"),
        ('{"AccessKeyId": "id"}', "no text for AccessKeySecret"),
        ('{"AccessKeyId": "id", "AccessKeySecret": 7}', "no text for AccessKeySecret"),
        ('{"AccessKeyId": "id", "AccessKeySecret": "s3cret\\n"}', "AccessKeySecret in the credentials file .* contains"),
        ('{"AccessKeyId": "id", "AccessKeySecret": "s3cret", "Expiration": "soon"}', "Expiration unlike"),
        ('{"AccessKeyId": "id", "AccessKeySecret": "s3cret", "Expiration": 5}', "Expiration unlike"),
        ('{"Code": "Failed"}', "Code 'Failed'"),
        (" " * 70_000, "more than 65536 bytes"),
        (None, "No such file"),
    ],
)
def test_file_that_cannot_be(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "credentials.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        FileCredentials(path)
    assert str(path) in str(caught.value)
    assert "s3cret" not in str(caught.value)
