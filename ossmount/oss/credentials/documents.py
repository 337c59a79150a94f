"""The JSON in which credentials travel: files, the metadata service, STS, programs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone

from ossmount.config import Credentials
from ossmount.oss.credentials.interface import CredentialsError, Issued

MAX_DOCUMENT = 64 << 10  # bytes

_EXAMPLE = 'expected {"AccessKeyId": "…", "AccessKeySecret": "…"}, with "SecurityToken" and "Expiration" for temporary ones'
#: Field, and how the aliyun CLI writes it where a program answers it.
_SPELLINGS = {
    "AccessKeyId": "access_key_id",
    "AccessKeySecret": "access_key_secret",
    "SecurityToken": "sts_token",
    "Expiration": "expiration",
}
_SECRET_LIKE = re.compile(r"[A-Za-z0-9+=]{16,}")


def parse_document(data: bytes, where: str) -> Issued:
    """The credentials that a JSON object holds; `where` names it in messages. Raises CredentialsError."""
    if len(data) > MAX_DOCUMENT:
        raise CredentialsError(f"{where} has more than {MAX_DOCUMENT} bytes: these are no credentials")
    try:
        document = json.loads(data)
    except ValueError:
        raise CredentialsError(f"{where} is no JSON: {_EXAMPLE}") from None
    if not isinstance(document, dict):
        raise CredentialsError(f"{where} is no JSON object: {_EXAMPLE}")
    return issued_of(document, where)


def issued_of(document: Mapping[str, object], where: str) -> Issued:
    """The same for an object that was parsed already."""
    if document.get("Code", "Success") != "Success":
        raise CredentialsError(f"{where} says Code {masked(str(document['Code']))!r} instead of Success")
    return Issued(
        Credentials(
            _field(document, "AccessKeyId", where),
            _field(document, "AccessKeySecret", where),
            _field(document, "SecurityToken", where, optional=True),
        ),
        _expires(document, where),
    )


def _value(document: Mapping[str, object], name: str) -> object:
    return document[name] if name in document else document.get(_SPELLINGS[name])


def _field(document: Mapping[str, object], name: str, where: str, *, optional: bool = False) -> str:
    value = _value(document, name)
    if value is None and optional:
        return ""
    if not isinstance(value, str) or (not value and not optional):
        raise CredentialsError(f"{where} has no text for {name}: {_EXAMPLE}")
    return check_text(f"{name} in {where}", value)


def check_text(name: str, value: str) -> str:
    """The value, if a header can take it as it is. The message never shows it."""
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise CredentialsError(f"{name} contains a space or a character that no access key has")
    return value


def _expires(document: Mapping[str, object], where: str) -> float | None:
    value = _value(document, "Expiration")
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        parsed = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        raise CredentialsError(f"{where} has an Expiration unlike 2026-11-21T15:47:04Z") from None


def masked(text: str, limit: int = 200) -> str:
    """One line of what a service or a program said, without anything that is as long as a key."""
    return _SECRET_LIKE.sub("***", " ".join(text.split()))[:limit]
