"""The source of a mount, oss://BUCKET[/PREFIX], as users write it."""

from __future__ import annotations

import os
from typing import NamedTuple

from ossmount.options.places import BUCKET, KEY_MAX
from ossmount.options.settings import UsageError


class Source(NamedTuple):
    """A bucket and the part of it that is mounted."""

    bucket: str
    prefix: bytes  # b"" or ending in "/"

    def __str__(self) -> str:
        return f"oss://{self.bucket}/{os.fsdecode(self.prefix)}".rstrip("/")


def parse_source(text: str) -> Source:
    """Raises UsageError. Bucket names: 3 to 63 lower-case letters, digits and hyphens, as OSS demands."""
    scheme, colon, rest = text.partition("://")
    if not colon or scheme.lower() != "oss":
        raise UsageError(f"{text!r} is not a source; write oss://BUCKET or oss://BUCKET/PREFIX")
    bucket, _, prefix = rest.partition("/")
    if "." in bucket:
        name, _, endpoint = bucket.partition(".")
        raise UsageError(f"{bucket!r} is not a bucket name; write oss://{name} and --endpoint {endpoint}")
    if not BUCKET.fullmatch(bucket):
        raise UsageError(f"{bucket!r} is not a bucket name: 3 to 63 lower-case letters, digits and hyphens")
    key = os.fsencode(prefix)
    if key and not key.endswith(b"/"):
        key += b"/"
    if len(key) > KEY_MAX:
        raise UsageError("the prefix is longer than a key can be (1,023 bytes)")
    return Source(bucket, key)
