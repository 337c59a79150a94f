from __future__ import annotations

import base64

import pytest

from ossmount.errors import (
    Archived,
    Changed,
    CredentialsRefused,
    Denied,
    NoSuchBucket,
    NotFound,
    OssMountError,
    Throttled,
    Unavailable,
)
from ossmount.oss.answers import Refusal, describe, failure_of, parse_refusal

BODY = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error>
  <Code>NoSuchKey</Code>
  <Message>The specified key does not exist.</Message>
  <RequestId>5C3D9175B6FC201293AD****</RequestId>
  <HostId>data.oss-cn-hangzhou.aliyuncs.com</HostId>
  <Detail><Code>inner</Code></Detail>
</Error>"""
PARSED = Refusal(404, "NoSuchKey", "The specified key does not exist.", "5C3D9175B6FC201293AD****")


def test_error_document_from_body_and_from_header() -> None:
    assert parse_refusal(404, {}, BODY) == PARSED
    assert parse_refusal(404, {"X-Oss-Err": base64.b64encode(BODY).decode()}, b"") == PARSED
    assert parse_refusal(404, {"x-oss-request-id": "R"}, BODY).request_id == "R"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        BODY[:-5],
        b"<Other><Code>NoSuchKey</Code></Other>",
        b'<!DOCTYPE x [<!ENTITY e "NoSuchKey">]><Error><Code>&e;</Code></Error>',
        b"\xff\xfe",
    ],
)
def test_what_is_no_error_document_tells_nothing(body: bytes) -> None:
    assert parse_refusal(500, {}, body) == Refusal(500)


def test_header_that_is_no_base64() -> None:
    assert parse_refusal(404, {"x-oss-err": "!"}, b"") == Refusal(404)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", NotFound),
        (404, "", NotFound),
        (404, "SymlinkTargetNotExist", NotFound),
        (404, "NoSuchBucket", NoSuchBucket),
        (412, "PreconditionFailed", Changed),
        (412, "", Changed),
        (416, "InvalidRange", Changed),
        (403, "AccessDenied", Denied),
        (403, "InvalidAccessKeyId", CredentialsRefused),
        (403, "SignatureDoesNotMatch", Denied),
        (403, "RequestTimeTooSkewed", Denied),
        (403, "SecurityTokenExpired", CredentialsRefused),
        (403, "InvalidObjectState", Archived),
        (403, "", Denied),
        (503, "QpsLimitExceeded", Throttled),
        (503, "DownloadTrafficRateLimitExceeded", Throttled),
        (503, "", Throttled),
        (429, "", Throttled),
        (400, "TotalQpsLimitExceeded", Throttled),
        (500, "InternalError", Unavailable),
        (502, "", Unavailable),
        (400, "RequestTimeout", Unavailable),
        (400, "InvalidArgument", OssMountError),
        (301, "", OssMountError),
    ],
)
def test_kind_of_failure(status: int, code: str, kind: type[OssMountError]) -> None:
    failure = failure_of(Refusal(status, code, "why", "R1"), "GET a/b.jpg")
    assert type(failure) is kind
    for part in ("GET a/b.jpg", str(status), code, "why", "R1"):
        assert part in str(failure)


def test_absence_of_a_listed_object_is_a_change() -> None:
    assert type(failure_of(Refusal(404, "NoSuchKey"), "GET a", listed=True)) is Changed
    assert type(failure_of(Refusal(404, "NoSuchBucket"), "GET a", listed=True)) is NoSuchBucket


def test_advice() -> None:
    assert "clock" in describe(Refusal(403, "RequestTimeTooSkewed"))
    wrong_place = Refusal(403, "AccessDenied", endpoint="oss-cn-beijing.aliyuncs.com")
    assert "endpoint is oss-cn-beijing.aliyuncs.com: give it with --endpoint" in describe(wrong_place)
    assert "redirects are not followed" in describe(Refusal(307))
