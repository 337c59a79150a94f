"""Where credentials come from: the environment or a JSON file. Both give a callable that each signature asks."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from ossmount.config import Credentials

_log = logging.getLogger(__name__)

_RACY_NS = 2_000_000_000  # a file written so recently may change again without a new time stamp: it is read again
_MAX_FILE = 64 << 10  # bytes


def environment_credentials(environ: Mapping[str, str]) -> Callable[[], Credentials]:
    """OSS_ACCESS_KEY_ID, OSS_ACCESS_KEY_SECRET and OSS_SECURITY_TOKEN; anonymous when none is set. Raises ValueError."""
    identity = environ.get("OSS_ACCESS_KEY_ID", "").strip()
    secret = environ.get("OSS_ACCESS_KEY_SECRET", "").strip()
    token = environ.get("OSS_SECURITY_TOKEN", "").strip()
    if identity and not secret:
        raise ValueError("OSS_ACCESS_KEY_ID is set but OSS_ACCESS_KEY_SECRET is not")
    if not identity and (secret or token):
        raise ValueError(f"{'OSS_ACCESS_KEY_SECRET' if secret else 'OSS_SECURITY_TOKEN'} is set but OSS_ACCESS_KEY_ID is not")
    for name, value in (("OSS_ACCESS_KEY_ID", identity), ("OSS_ACCESS_KEY_SECRET", secret), ("OSS_SECURITY_TOKEN", token)):
        _check_text(name, value)
    credentials = Credentials(identity, secret, token)
    return lambda: credentials


class FileCredentials:
    """A JSON file with AccessKeyId, AccessKeySecret and, for temporary ones, SecurityToken and Expiration.

    The file is looked at for each signature (one stat, 1 microsecond) and read again when it was replaced or rewritten. The
    first reading raises ValueError; a later one that fails is logged and leaves the credentials as they were, since a writer
    may be half-way and a missing file does not take back what OSS still accepts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complained = ""
        self._signature = _stat_signature(path)
        self._credentials = _read(path)

    def __repr__(self) -> str:
        return f"<FileCredentials {self._path}>"

    def __call__(self) -> Credentials:
        try:
            signature = _stat_signature(self._path)
            if signature is None or signature != self._signature:
                self._credentials = _read(self._path)
                self._signature = signature
                self._complained = ""
        except ValueError as error:
            if str(error) != self._complained:
                self._complained = str(error)
                _log.warning("%s; the credentials read before stay in use", error)
        return self._credentials


def _stat_signature(path: Path) -> tuple[int, int, int, int] | None:
    """What changes when the file does; None while that cannot be relied on."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ValueError(_unreadable(path, error)) from None
    if abs(time.time_ns() - status.st_mtime_ns) < _RACY_NS:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> Credentials:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ValueError(_unreadable(path, error)) from None
    if len(data) > _MAX_FILE:
        raise ValueError(f"the credentials file {path} has more than {_MAX_FILE} bytes: it is no credentials file")
    try:
        document = json.loads(data)
    except ValueError:
        raise ValueError(f"the credentials file {path} is no JSON: {_EXAMPLE}") from None
    if not isinstance(document, dict):
        raise ValueError(f"the credentials file {path} is no JSON object: {_EXAMPLE}")
    if document.get("Code", "Success") != "Success":
        raise ValueError(f"the credentials file {path} says Code {document['Code']!r} instead of Success")
    _warn_expired(path, document.get("Expiration"))
    return Credentials(
        _field(path, document, "AccessKeyId"),
        _field(path, document, "AccessKeySecret"),
        _field(path, document, "SecurityToken", optional=True),
    )


_EXAMPLE = 'expected {"AccessKeyId": "…", "AccessKeySecret": "…"}, with "SecurityToken" and "Expiration" for temporary ones'


def _field(path: Path, document: Mapping[str, object], name: str, *, optional: bool = False) -> str:
    value = document.get(name)
    if value is None and optional:
        return ""
    if not isinstance(value, str) or (not value and not optional):
        raise ValueError(f"the credentials file {path} has no text for {name}: {_EXAMPLE}")
    _check_text(f"{name} in the credentials file {path}", value)
    return value


def _check_text(name: str, value: str) -> None:
    """A header takes it as it is. The message never shows the value."""
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError(f"{name} contains a space or a character that no access key has")


def _warn_expired(path: Path, expiration: object) -> None:
    """OSS decides whether credentials have expired, not this machine's clock: a past time is only reported."""
    if expiration is None:
        return
    try:
        if not isinstance(expiration, str):
            raise ValueError
        expires = _utc_seconds(expiration)
    except ValueError:
        raise ValueError(f"the credentials file {path} has an Expiration unlike 2026-11-21T15:47:04Z") from None
    if expires < time.time():
        _log.warning("the credentials in %s expired at %s", path, expiration)


def _utc_seconds(text: str) -> float:

    parsed = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()


def _unreadable(path: Path, error: OSError) -> str:
    return f"the credentials file {path} cannot be read: {error.strerror or error}"
