"""The XML that OSS sends and takes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from ossmount.emulator.errors import OssError
from ossmount.emulator.message import Response

#: An element: its name, and its text or its elements.
Element = tuple[str, "str | int | Iterable[Element]"]

OWNER: Element = ("Owner", [("ID", "1000000000000001"), ("DisplayName", "1000000000000001")])
_CONTROL = re.compile(rb"([\x00-\x08\x0b\x0c\x0e-\x1f])|&#x0*([0-9a-fA-F]{1,2});|&#0*([0-9]{1,2});")
_PRIVATE = 0xF0000  # where control characters stand while XML is parsed
_PUBLIC = {_PRIVATE + code: code for code in range(32)}
#: Characters that a parser would change or refuse; control characters are only right with encoding-type=url.
_ENTITIES = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;", '"': "&quot;"}


def render(element: Element) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + _text(element).encode("utf-8", "replace")


def document(root: str, content: str | Iterable[Element]) -> Response:
    return Response(200, {"content-type": "application/xml"}, render((root, content)))


def _text(element: Element) -> str:
    name, content = element
    if isinstance(content, str):
        return f"<{name}>{escape(content, _ENTITIES)}</{name}>"
    if isinstance(content, int):
        return f"<{name}>{content}</{name}>"
    return f"<{name}>{''.join(map(_text, content))}</{name}>"


def shown(key: bytes, encoding: str) -> str:
    """A key as a document shows it."""
    return quote(key, safe="") if encoding == "url" else key.decode("utf-8", "replace")


def timestamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def parse(data: bytes, root: str) -> ElementTree.Element:
    """The document that a client sent, its namespaces removed. Raises MalformedXML.

    Keys may hold control characters, which XML has no way to write: clients send them as they are or as references. They
    stand in the tree as characters of a private area; text_of() gives them back.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # entities can grow without bound
        raise OssError("MalformedXML")
    data = _CONTROL.sub(_private, data)
    try:
        tree = ElementTree.fromstring(data)
    except ElementTree.ParseError:
        raise OssError("MalformedXML") from None
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]
    if tree.tag != root:
        raise OssError("MalformedXML")
    return tree


def text_of(element: ElementTree.Element, name: str) -> str:
    """The text of a child, "" where there is none."""
    return (element.findtext(name) or "").translate(_PUBLIC)


def _private(match: re.Match[bytes]) -> bytes:
    raw, hexadecimal, decimal = match.groups()
    code = raw[0] if raw else int(hexadecimal, 16) if hexadecimal else int(decimal)
    return chr(_PRIVATE + code).encode() if code < 32 else match[0]


def error_document(error: OssError, request_id: str, host: str) -> bytes:
    fixed: list[Element] = [
        ("Code", error.code),
        ("Message", error.message),
        ("RequestId", request_id),
        ("HostId", host),
    ]
    return render(("Error", fixed + list(error.details.items())))
