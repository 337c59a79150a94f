"""Where a snapshot lies: a file of this machine, or one object, oss://BUCKET/KEY."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
KEY_MAX = 1023  # bytes, OSS's limit


class ObjectPlace(NamedTuple):
    """One object."""

    bucket: str
    key: bytes

    def __str__(self) -> str:
        return f"oss://{self.bucket}/{self.key.decode()}"


def parse_place(text: str) -> Path | ObjectPlace:
    """Raises ValueError with what was expected."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        if "\0" in text:
            raise ValueError("a path has no NUL character")
        return Path(text).expanduser().absolute()
    bucket, _, name = rest.partition("/")
    if scheme.lower() != "oss":
        raise ValueError("write the path of a file, or oss://BUCKET/KEY")
    if "." in bucket:
        shown, _, endpoint = bucket.partition(".")
        raise ValueError(f"write oss://{shown}/{name} and --endpoint {endpoint}")
    if not BUCKET.fullmatch(bucket):
        raise ValueError(f"{bucket!r} is not a bucket name: 3 to 63 lower-case letters, digits and hyphens")
    try:
        key = name.encode()
    except UnicodeEncodeError:
        raise ValueError("the key is not UTF-8, as every key of OSS is") from None
    if not key or key.endswith(b"/") or len(key) > KEY_MAX:
        raise ValueError("name one object, oss://BUCKET/KEY: a key has 1 to 1,023 bytes and a file's does not end in /")
    return ObjectPlace(bucket, key)
