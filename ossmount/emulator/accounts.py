"""Who may ask: access keys, security tokens and anonymous access, checked as OSS checks them."""

from __future__ import annotations

import calendar
import hmac
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ossmount.emulator import signature
from ossmount.emulator.errors import OssError
from ossmount.emulator.message import Request

MAX_SKEW = 15 * 60  # seconds


@dataclass(frozen=True)
class Account:
    """An access key; with a token it is a temporary one of STS, valid until `expires` (seconds since the epoch)."""

    access_key_id: str
    access_key_secret: str
    security_token: str = ""
    expires: float = float("inf")


class Accounts:
    """The accounts that a server knows; they may change while it runs. Safe on any thread."""

    def __init__(self, *, anonymous: bool = False) -> None:
        self.anonymous = anonymous
        self.ahead = 0.0  # seconds that the server's clock is ahead of this machine's
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}

    def add(
        self, access_key_id: str, access_key_secret: str, security_token: str = "", *, expires: float = float("inf")
    ) -> None:
        """Adds an account or replaces the one of that id."""
        with self._lock:
            self._accounts[access_key_id] = Account(access_key_id, access_key_secret, security_token, expires)

    def remove(self, access_key_id: str) -> None:
        with self._lock:
            self._accounts.pop(access_key_id, None)

    def now(self) -> float:
        """Seconds since the epoch by the server's clock."""
        return time.time() + self.ahead

    def check(self, request: Request, *, public: bool = False) -> None:
        """Raises OssError unless the request is signed rightly, or unsigned where that is allowed (public)."""
        authorization = request.sent_headers.get("authorization", "")
        if authorization.startswith("OSS4-HMAC-SHA256 "):
            self._check_v4(request, _fields(authorization), request.sent_headers.get("x-oss-date", ""), presigned=False)
        elif authorization.startswith("AWS4-HMAC-SHA256 "):
            self._check_s3(request, _fields(authorization), request.sent_headers.get("x-amz-date", ""), presigned=False)
        elif authorization.startswith("OSS "):
            self._check_v1(request, authorization)
        elif authorization:
            raise OssError("InvalidArgument", "Unsupported authorization type.")
        elif "x-oss-signature-version" in request.query:
            fields = {
                "Credential": request.query.get("x-oss-credential", ""),
                "AdditionalHeaders": request.query.get("x-oss-additional-headers", ""),
                "Signature": request.query.get("x-oss-signature", ""),
            }
            self._check_v4(request, fields, request.query.get("x-oss-date", ""), presigned=True)
        elif "X-Amz-Signature" in request.query:
            fields = {
                "Credential": request.query.get("X-Amz-Credential", ""),
                "SignedHeaders": request.query.get("X-Amz-SignedHeaders", ""),
                "Signature": request.query["X-Amz-Signature"],
            }
            self._check_s3(request, fields, request.query.get("X-Amz-Date", ""), presigned=True)
        elif "Signature" in request.query and "OSSAccessKeyId" in request.query:
            self._check_v1_url(request)
        elif not self.anonymous and not public:
            raise OssError("AccessDenied", "You have no right to access this object because of bucket acl.")

    def _account(self, access_key_id: str, request: Request) -> Account:
        with self._lock:
            account = self._accounts.get(access_key_id)
        details = {"OSSAccessKeyId": access_key_id}
        if account is None:
            raise OssError("InvalidAccessKeyId", details=details)
        token = (
            request.headers.get("x-oss-security-token")
            or request.headers.get("security-token")
            or request.query.get("security-token")
            or request.query.get("x-oss-security-token")
            or request.query.get("X-Amz-Security-Token", "")
        )
        if bool(account.security_token) != bool(token):  # a temporary key is none without its token, and the reverse
            raise OssError("InvalidAccessKeyId", details=details)
        if not hmac.compare_digest(account.security_token.encode(), token.encode()):
            raise OssError("InvalidSecurityToken", details=details)
        if self.now() >= account.expires:
            raise OssError("SecurityTokenExpired", details=details)
        return account

    def _check_v1(self, request: Request, authorization: str) -> None:
        access_key_id, _, given = authorization.removeprefix("OSS ").partition(":")
        account = self._account(access_key_id, request)
        date = request.sent_headers.get("x-oss-date") or request.sent_headers.get("date", "")
        try:
            sent = parsedate_to_datetime(date).timestamp()
        except (TypeError, ValueError):
            raise OssError("AccessDenied", "OSS authentication requires a valid Date.") from None
        self._check_clock(sent)
        to_sign = signature.v1_string(request, date)
        _compare(signature.v1_signature(account.access_key_secret, to_sign), given, account, to_sign.decode("latin-1"))

    def _check_v1_url(self, request: Request) -> None:
        account = self._account(request.query["OSSAccessKeyId"], request)
        expires = request.query.get("Expires", "")
        if not expires.isdecimal():
            raise OssError("AccessDenied", "Invalid date (should be seconds since epoch).")
        to_sign = signature.v1_string(request, expires)
        expected = signature.v1_signature(account.access_key_secret, to_sign)
        _compare(expected, request.query["Signature"], account, to_sign.decode("latin-1"))
        if self.now() >= int(expires):
            raise OssError("AccessDenied", "Request has expired.", details={"Expires": expires})

    def _check_v4(self, request: Request, fields: dict[str, str], date: str, *, presigned: bool) -> None:
        access_key_id, scope = _credential(fields, "aliyun_v4_request")
        account = self._account(access_key_id, request)
        sent = _iso_time(date)
        additional = [name for name in fields.get("AdditionalHeaders", "").lower().split(";") if name]
        to_sign = signature.v4_string(request, date, scope, additional)
        expected = signature.v4_signature(account.access_key_secret, scope, to_sign)
        if presigned:
            _compare(expected, fields["Signature"], account, to_sign)
            self._check_expiry(sent, request.query.get("x-oss-expires", ""))
        else:
            self._check_clock(sent)
            _compare(expected, fields.get("Signature", ""), account, to_sign)

    def _check_s3(self, request: Request, fields: dict[str, str], date: str, *, presigned: bool) -> None:
        access_key_id, scope = _credential(fields, "aws4_request")
        account = self._account(access_key_id, request)
        sent = _iso_time(date)
        signed = [name for name in fields.get("SignedHeaders", "").split(";") if name]
        payload = "UNSIGNED-PAYLOAD"
        if not presigned:
            payload = request.sent_headers.get("x-amz-content-sha256", payload)
        to_sign = signature.s3_string(request, date, scope, signed, payload)
        expected = signature.s3_signature(account.access_key_secret, scope, to_sign)
        if presigned:
            _compare(expected, fields["Signature"], account, to_sign)
            self._check_expiry(sent, request.query.get("X-Amz-Expires", ""))
        else:
            self._check_clock(sent)
            _compare(expected, fields.get("Signature", ""), account, to_sign)

    def _check_clock(self, sent: float) -> None:
        if abs(self.now() - sent) > MAX_SKEW:
            raise OssError("RequestTimeTooSkewed", details={"MaxAllowedSkewMilliseconds": str(MAX_SKEW * 1000)})

    def _check_expiry(self, sent: int, seconds: str) -> None:
        if not seconds.isdecimal():
            raise OssError("InvalidArgument", "The expiry of the URL is malformed.")
        if self.now() >= sent + int(seconds):
            raise OssError("AccessDenied", "Request has expired.")


def _fields(authorization: str) -> dict[str, str]:
    fields = {}
    for part in authorization.partition(" ")[2].split(","):
        name, _, value = part.strip().partition("=")
        fields[name] = value
    return fields


def _credential(fields: dict[str, str], last: str) -> tuple[str, str]:
    """The access key id and the scope, DATE/REGION/PRODUCT/last."""
    access_key_id, _, scope = fields.get("Credential", "").partition("/")
    if scope.count("/") != 3 or not scope.endswith("/" + last):
        raise OssError("InvalidArgument", "The credential of the request is malformed.")
    return access_key_id, scope


def _iso_time(date: str) -> int:
    try:
        return calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise OssError("AccessDenied", "OSS authentication requires a valid Date.") from None


def _compare(expected: str, given: str, account: Account, to_sign: str) -> None:
    if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape")):
        raise OssError(
            "SignatureDoesNotMatch",
            details={
                "OSSAccessKeyId": account.access_key_id,
                "SignatureProvided": given,
                "StringToSign": to_sign,
            },
        )
