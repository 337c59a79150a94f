"""The one table from OSS's answers to our errors.

Source: OSS documentation, "Error responses" and the list of error codes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple, NoReturn
from xml.parsers import expat

from ossmount.errors import (
    Archived,
    Changed,
    CredentialsRefused,
    Damaged,
    Denied,
    NoSuchBucket,
    NotFound,
    OssMountError,
    Throttled,
    Unavailable,
)

_MAX_ERROR_BODY = 64 << 10  # bytes; OSS's own are below 1 KiB


class Known(NamedTuple):
    """What a code of OSS means to us."""

    failure: type[OssMountError]
    advice: str = ""  # for a person


#: What decides before the status does.
BY_CODE: dict[str, Known] = {
    "NoSuchKey": Known(NotFound),
    "SymlinkTargetNotExist": Known(NotFound),
    "NoSuchBucket": Known(NoSuchBucket, "check the bucket's name, and that --endpoint is the one of its region"),
    "PreconditionFailed": Known(Changed),
    "InvalidRange": Known(Changed),  # the object is shorter than its listing said
    "InvalidObjectState": Known(Archived, "the object is archived and must be restored before it can be read"),
    "AccessDenied": Known(
        Denied, "the credentials do not allow it: oss:ListObjects on the bucket and oss:GetObject below it are needed"
    ),
    "InvalidAccessKeyId": Known(
        CredentialsRefused, "OSS does not know the access key id: check OSS_ACCESS_KEY_ID or the credentials file"
    ),
    "SignatureDoesNotMatch": Known(
        Denied, "the secret (or --region) is wrong: check OSS_ACCESS_KEY_SECRET or the credentials file"
    ),
    "SecurityTokenExpired": Known(CredentialsRefused, "the temporary credentials have expired: get new ones"),
    "InvalidSecurityToken": Known(
        CredentialsRefused, "the security token is wrong or has expired: check OSS_SECURITY_TOKEN or the credentials file"
    ),
    "AccessKeyIdAndSecurityTokenNotMatch": Known(
        CredentialsRefused, "the access key id and the security token belong to two sessions"
    ),
    "RequestTimeTooSkewed": Known(Denied, "the clock of this machine is more than 15 minutes off: set it (NTP)"),
    "UserDisable": Known(Denied, "the account is disabled or in arrears"),
    "InDebt": Known(Denied, "the account is in arrears"),
    "InDebtOverdue": Known(Denied, "the account is in arrears"),
    "BucketDisable": Known(Denied, "Alibaba Cloud has disabled the bucket"),
    "RequestTimeout": Known(Unavailable),
    "InternalError": Known(Unavailable),
    "RequestRateLimitExceeded": Known(Throttled),
    "SlowDown": Known(Throttled),
    "Throttling": Known(Throttled),
    "ServiceUnavailable": Known(Throttled),
    "TooManyRequests": Known(Throttled),
}
#: Codes with this end ask for fewer requests or bytes: QpsLimitExceeded, DownloadTrafficRateLimitExceeded, …
THROTTLED_END = "LimitExceeded"

#: For all other codes.
BY_STATUS: dict[int, type[OssMountError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    408: Unavailable,
    412: Changed,
    416: Changed,
    429: Throttled,
    503: Throttled,
}


class Refusal(NamedTuple):
    """What OSS says about a request that it does not serve. All fields may be empty but the status."""

    status: int
    code: str = ""
    message: str = ""
    request_id: str = ""
    endpoint: str = ""  # where the bucket lies, when it was asked for at a wrong endpoint


def parse_refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """Reads an error answer; headers in any case of letters. What is no OSS error document leaves the fields empty."""
    lower = {name.lower(): value for name, value in headers.items()}
    if not body and "x-oss-err" in lower:  # answers to HEAD carry the document in a header
        try:
            body = base64.b64decode(lower["x-oss-err"], validate=True)
        except binascii.Error:
            body = b""
    fields = _error_fields(body[:_MAX_ERROR_BODY])
    return Refusal(
        status,
        fields.get("Code", ""),
        fields.get("Message", ""),
        lower.get("x-oss-request-id", "") or fields.get("RequestId", ""),
        fields.get("Endpoint", ""),
    )


def failure_of(refusal: Refusal, what: str, *, listed: bool = False) -> OssMountError:
    """The error for an answer whose status is not 2xx.

    `what` names the request for the message ("GET train/a.jpg"). With `listed`, the object was seen before, so that its
    absence means Changed.
    """
    # of a redirect the code says only that this is not the place to ask
    known = None if 300 <= refusal.status < 400 else BY_CODE.get(refusal.code)
    if known is not None:
        kind = known.failure
    elif refusal.code.endswith(THROTTLED_END):
        kind = Throttled
    else:
        kind = BY_STATUS.get(refusal.status, Unavailable if refusal.status >= 500 else OssMountError)
    if kind is NotFound and listed:
        kind = Changed
    return kind(f"{what}: {describe(refusal)}")


def describe(refusal: Refusal) -> str:
    """One line for a person: status, code, message, advice and request id."""
    parts = [f"OSS answered {refusal.status}"]
    if refusal.code:
        parts[0] += f" {refusal.code}"
    if refusal.message:
        parts[0] += f" ({' '.join(refusal.message.split())[:300]})"
    if 300 <= refusal.status < 400:
        parts.append("redirects are not followed: give the bucket's own --endpoint")
    if refusal.endpoint:
        parts.append(f"the bucket's endpoint is {refusal.endpoint[:200]}: give it with --endpoint")
    elif (known := BY_CODE.get(refusal.code)) is not None and known.advice:
        parts.append(known.advice)
    if refusal.request_id:
        parts.append(f"request id {refusal.request_id[:100]}")
    return "; ".join(parts)


def _error_fields(body: bytes) -> dict[str, str]:
    """The children of <Error>; {} for what is no such document, also for one with a DOCTYPE or cut short."""
    fields: dict[str, str] = {}
    path: list[str] = []
    text = ""

    def start(name: str, _attributes: object) -> None:
        nonlocal text
        path.append(name)
        text = ""

    def characters(data: str) -> None:
        nonlocal text
        text += data

    def end(name: str) -> None:
        nonlocal text
        if len(path) == 2 and path[0] == "Error":
            fields[name] = text
        path.pop()
        text = ""

    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.CharacterDataHandler = characters
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, Damaged):
        return {}
    return fields


def _refuse_doctype(*_declaration: object) -> NoReturn:
    raise Damaged("an error document with a DOCTYPE")
