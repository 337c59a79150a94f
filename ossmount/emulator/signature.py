"""What the signatures of OSS (V1, V4) and of S3 (V4) are computed from.

Sources: the OSS documentation, "Include signatures in the Authorization header" and "Include a V4 signature in a URL";
the AWS documentation, "Create a signed AWS API request". Requests signed as S3 does are what OSS answers to S3 clients.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from ossmount.emulator.message import Request

# The query arguments that Signature V1 covers, besides all that begin with x-oss-.
_SUBRESOURCES = frozenset(
    name
    for names in (
        "acl append bucketInfo callback callback-var cname comp continuation-token cors delete encryption endTime",
        "inventory inventoryId lifecycle link live location logging objectInfo objectMeta partNumber policy position",
        "qos qosInfo referer regionList replication requestPayment resourceGroup response-cache-control",
        "response-content-disposition response-content-encoding response-content-language response-content-type",
        "response-expires restore security-token sequential startTime stat status style styleName symlink tagging",
        "transferAcceleration uploadId uploads versionId versioning versions vod website worm wormExtend wormId",
    )
    for name in names.split()
)


def v1_string(request: Request, date: str) -> bytes:
    """The string to sign of OSS Signature V1; date is the Date header, or Expires in a presigned URL."""
    covered = sorted(
        (name, value) for name, value in request.query.items() if name in _SUBRESOURCES or name.startswith("x-oss-")
    )
    query = "&".join(f"{name}={value}" if value else name for name, value in covered)
    resource = b"/" + (_bytes(request.bucket) + b"/" + request.key if request.bucket else b"")
    headers = sorted((name, value) for name, value in request.sent_headers.items() if name.startswith("x-oss-"))
    head = [request.method, request.sent_headers.get("content-md5", ""), request.sent_headers.get("content-type", ""), date]
    lines = [*head, *(f"{name}:{value}" for name, value in headers)]
    return "\n".join(lines).encode("latin-1") + b"\n" + resource + (b"?" + _bytes(query) if query else b"")


def v1_signature(secret: str, to_sign: bytes) -> str:
    return base64.b64encode(hmac.new(secret.encode(), to_sign, hashlib.sha1).digest()).decode()


def v4_string(request: Request, date: str, scope: str, additional: Iterable[str]) -> str:
    """The string to sign of OSS Signature V4."""
    extra = sorted(set(additional))
    signed = sorted(
        (name, value)
        for name, value in request.sent_headers.items()
        if name.startswith("x-oss-") or name in ("content-type", "content-md5") or name in extra
    )
    path = b"/" + (_bytes(request.bucket) + b"/" + request.key if request.bucket else b"")
    canonical = "\n".join(
        [
            request.method,
            quote(path, safe="/"),
            _canonical_query(request, without="x-oss-signature", always_equals=False),
            "".join(f"{name}:{value}\n" for name, value in signed),
            ";".join(extra),
            request.sent_headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
        ]
    )
    return "\n".join(["OSS4-HMAC-SHA256", date, scope, _sha256(canonical)])


def v4_signature(secret: str, scope: str, to_sign: str) -> str:
    return _chained("aliyun_v4" + secret, scope, to_sign)


def s3_string(request: Request, date: str, scope: str, signed: Iterable[str], payload: str) -> str:
    """The string to sign of AWS Signature V4 for S3, which encodes the path once."""
    names = sorted(signed)
    canonical = "\n".join(
        [
            request.method,
            quote(unquote_to_bytes(request.raw_path), safe="/"),
            _canonical_query(request, without="X-Amz-Signature", always_equals=True),
            "".join(f"{name}:{re.sub(' +', ' ', request.sent_headers.get(name, ''))}\n" for name in names),
            ";".join(names),
            payload,
        ]
    )
    return "\n".join(["AWS4-HMAC-SHA256", date, scope, _sha256(canonical)])


def s3_signature(secret: str, scope: str, to_sign: str) -> str:
    return _chained("AWS4" + secret, scope, to_sign)


def _chained(start: str, scope: str, to_sign: str) -> str:
    key = start.encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def _canonical_query(request: Request, *, without: str, always_equals: bool) -> str:
    pairs = sorted(
        (quote(_bytes(name), safe=""), quote(_bytes(value), safe=""))
        for name, value in request.query.items()
        if name != without
    )
    return "&".join(f"{name}={value}" if value or always_equals else name for name, value in pairs)


def _sha256(canonical: str) -> str:
    # Header values were decoded as Latin-1, which gives their bytes back.
    return hashlib.sha256(canonical.encode("latin-1")).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
