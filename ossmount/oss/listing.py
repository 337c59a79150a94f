"""ListObjectsV2 answers: XML to ListPage, checked so that a hostile or broken answer is an error and never a wrong tree.

A page in OSS's own shape is read by entries.py, with the checks made for all objects at once; any other by an XML parser,
object by object. Both give the same page or the same refusal.
Source: OSS documentation, "ListObjectsV2 (GetBucketV2)".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from itertools import islice, repeat
from operator import lt
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from ossmount.errors import Damaged
from ossmount.model import ListPage, ObjectInfo
from ossmount.oss.entries import Columns, decode_keys, decode_texts, read_plain

MAX_KEY = 1023  # bytes of a key's UTF-8
MAX_SIZE = 1 << 53  # bytes; the largest object that OSS stores is 48.8 TiB
MAX_TAGS = 200  # opening and closing ones outside of the entries; OSS writes about 30
MAX_TAGS_PER_KEY = 50  # OSS writes 16, and 22 with the owner
_ETAG = re.compile(r"[!#-~]{1,256}")  # goes into the If-Match header: printable, no quote, no space
_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d", re.ASCII)
_SECOND = re.compile(r":([0-5]\d|60)(?:\.(\d{3}))?Z", re.ASCII)

Fields = dict[str, str | None]  # by name of the element; None for an empty one
_new_object = partial(tuple.__new__, ObjectInfo)  # from a tuple of all fields: 0.1 µs, ObjectInfo(...) takes 0.4


def parse_listing(
    body: bytes, *, prefix: bytes = b"", delimiter: bytes = b"", start_after: bytes = b"", token: str = "", max_keys: int = 1000
) -> ListPage:
    """The page that answers the request with these parameters. Raises Damaged for everything that such an answer cannot be."""
    _check_body(body, max_keys)
    top, objects, prefixes = _read_plain(body) or _read(body)
    if len(objects) + len(prefixes) > max_keys:
        raise Damaged(f"the listing has {len(objects) + len(prefixes)} entries where {max_keys} were asked for")
    names = [_key(fields, "Prefix", _url_encoded(top)) for fields in prefixes]
    _check_keys([entry.key for entry in objects], prefix)
    _check_keys(names, prefix)
    if not token and start_after:
        _check_start(objects, names, start_after)
    if names and (not delimiter or not all(name.endswith(delimiter) and len(name) > len(prefix) for name in names)):
        raise Damaged("the listing has a common prefix that does not end in the delimiter")
    return ListPage(objects, names, _next_token(top, token, _url_encoded(top)))


def parse_etag(text: str) -> str:
    """An ETag without its quotes. Raises Damaged for one that could not stand in an If-Match header."""
    etag = text.strip().removeprefix('"').removesuffix('"')
    if not _ETAG.fullmatch(etag):
        raise Damaged(f"the answer has the ETag {text!r}")
    return etag


def parse_size(text: str) -> int:
    """Bytes. Raises Damaged."""
    if not (text.isascii() and text.isdigit()) or len(text) > 16 or (size := int(text)) > MAX_SIZE:
        raise Damaged(f"the answer has the size {text[:40]!r}")
    return size


def _check_body(body: bytes, max_keys: int) -> None:
    """Refuses what could expand (a DOCTYPE with entities) or grow (elements that no page has) before it is parsed.

    That look at the bytes can be trusted: the parser takes them for UTF-8 whatever they declare, and UTF-16 would have NULs.
    """
    if b"<!" in body or b"\0" in body:
        raise Damaged("the listing contains a declaration (DOCTYPE, ENTITY, CDATA or comment) or a NUL")
    if body.count(b"<") > MAX_TAGS_PER_KEY * max_keys + MAX_TAGS:
        raise Damaged(f"the listing has more elements than {max_keys} keys can have")


def _read_plain(body: bytes) -> tuple[Fields, list[ObjectInfo], list[Fields]] | None:
    """What _read() gives; None where not all objects have the one shape of entries.py."""
    plain = read_plain(body)
    if plain is None:
        return None
    top, others, prefixes = _parse(plain.around)
    return None if others else (top, _objects(plain.columns, _url_encoded(top)), prefixes)


def _read(body: bytes) -> tuple[Fields, list[ObjectInfo], list[Fields]]:
    """The fields of the answer itself, the objects, and the fields of each CommonPrefixes."""
    top, contents, prefixes = _parse(body)
    url_encoded = _url_encoded(top)
    return top, [_object(fields, url_encoded) for fields in contents], prefixes


def _url_encoded(top: Fields) -> bool:
    return top.get("EncodingType") == "url"


def _parse(body: bytes) -> tuple[Fields, list[Fields], list[Fields]]:
    """The fields of the answer itself, of each Contents and of each CommonPrefixes."""
    try:
        root = ElementTree.fromstring(body, ElementTree.XMLParser(encoding="utf-8"))
    except ElementTree.ParseError as error:
        raise Damaged(f"the listing is no XML: {error}") from None
    namespace = root.tag.removesuffix("ListBucketResult")
    if namespace == root.tag or (namespace and not namespace.endswith("}")):
        raise Damaged(f"the answer is no listing but <{root.tag[:40]}>")
    skip = len(namespace)
    top: Fields = {}
    records: dict[str, list[Fields]] = {"Contents": [], "CommonPrefixes": []}
    for element in root:
        name = element.tag[skip:]
        if name in records:
            fields = {field.tag[skip:]: field.text for field in element}
            if name in fields:
                raise Damaged("the listing has an entry inside another")
            records[name].append(fields)
        else:
            top[name] = element.text
    return top, records["Contents"], records["CommonPrefixes"]


def _objects(columns: Columns, url_encoded: bool) -> list[ObjectInfo]:
    """The same as _object() of each. The shape of the columns left the values to be checked that are not patterns."""
    keys: Sequence[bytes] = decode_keys(columns.keys) if url_encoded else columns.keys
    if (longest := max(map(len, keys))) > MAX_KEY:
        raise Damaged(f"the listing has a key of {longest} bytes")
    sizes = list(map(int, columns.sizes))
    if (largest := max(sizes)) > MAX_SIZE:
        raise Damaged(f"the answer has the size '{largest}'")
    modified = decode_texts(columns.times)
    times = {text: _time(text) for text in set(modified)}
    fields = zip(
        keys,
        sizes,
        map(times.__getitem__, modified),
        decode_texts(columns.etags),
        decode_texts(columns.types),
        decode_texts(columns.classes),
        repeat(None),  # the CRC-64
    )
    return list(map(_new_object, fields))


def _object(fields: Fields, url_encoded: bool) -> ObjectInfo:
    try:
        return ObjectInfo(
            _key(fields, "Key", url_encoded),
            parse_size(fields["Size"] or ""),
            _time(fields["LastModified"] or ""),
            parse_etag(fields["ETag"] or ""),
            fields.get("Type") or "Normal",
            fields.get("StorageClass") or "Standard",
        )
    except KeyError as error:
        raise Damaged(f"the listing has an object without {error.args[0]}") from None


def _key(fields: Fields, name: str, url_encoded: bool) -> bytes:
    text = fields.get(name) or ""
    key = unquote_to_bytes(text) if url_encoded and "%" in text else text.encode()
    if not key or len(key) > MAX_KEY:
        raise Damaged(f"the listing has a key of {len(key)} bytes")
    return key


def _time(text: str) -> int:
    """Nanoseconds since the epoch of a time such as 2026-11-21T15:47:04.000Z."""
    return _minute(text[:16]) + _second(text[16:])


# The objects of a data set share few minutes, and OSS writes no milliseconds: 0.3 µs for a time against 2 µs.
@lru_cache(maxsize=4096)
def _minute(text: str) -> int:
    try:
        if not _MINUTE.fullmatch(text):
            raise ValueError
        return int(datetime.fromisoformat(f"{text}:00+00:00").timestamp()) * 1_000_000_000
    except ValueError:
        raise Damaged(f"the listing has the time {text!r}") from None


@lru_cache(maxsize=1024)
def _second(text: str) -> int:
    match = _SECOND.fullmatch(text)
    if match is None:
        raise Damaged(f"the listing has a time that ends in {text[:40]!r}")
    return int(match[1]) * 1_000_000_000 + int(match[2] or 0) * 1_000_000


def _check_keys(keys: list[bytes], prefix: bytes) -> None:
    # Between two keys with a prefix there is no key without it.
    if not keys or (keys[0].startswith(prefix) and keys[-1].startswith(prefix) and all(map(lt, keys, islice(keys, 1, None)))):
        return
    before = b""
    for key in keys:
        if key <= before:
            raise Damaged(f"the listing is not in order: {key!r} after {before!r}")
        if not key.startswith(prefix):
            raise Damaged(f"the listing of {prefix!r} has the key {key!r}")
        before = key


def _check_start(objects: list[ObjectInfo], names: list[bytes], start_after: bytes) -> None:
    """A common prefix may stand before start_after when start_after lies inside it: later keys of it are still to come."""
    if objects and objects[0].key <= start_after:
        raise Damaged(f"the listing after {start_after!r} has the key {objects[0].key!r}")
    if names and names[0] <= start_after and not start_after.startswith(names[0]):
        raise Damaged(f"the listing after {start_after!r} has the common prefix {names[0]!r}")


def _next_token(top: Fields, token: str, url_encoded: bool) -> str:
    truncated = top.get("IsTruncated") or ""
    if truncated == "false":
        return ""
    if truncated != "true":
        raise Damaged(f"the listing has IsTruncated {truncated[:40]!r}")
    encoded = top.get("NextContinuationToken") or ""
    try:
        following = unquote_to_bytes(encoded).decode() if url_encoded else encoded
    except UnicodeDecodeError:
        raise Damaged("the listing has a continuation token that is no text") from None
    if not following or following == token:
        raise Damaged("the listing goes on but its continuation token is " + ("the same again" if following else "missing"))
    return following
