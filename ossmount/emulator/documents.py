"""The XML that OSS sends and takes."""

from __future__ import annotations

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
    """The document that a client sent, its namespaces removed. Raises MalformedXML."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # entities can grow without bound
        raise OssError("MalformedXML")
    try:
        tree = ElementTree.fromstring(data)
    except ElementTree.ParseError:
        raise OssError("MalformedXML") from None
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]
    if tree.tag != root:
        raise OssError("MalformedXML")
    return tree


def error_document(error: OssError, request_id: str, host: str) -> bytes:
    fixed: list[Element] = [
        ("Code", error.code),
        ("Message", error.message),
        ("RequestId", request_id),
        ("HostId", host),
    ]
    return render(("Error", fixed + list(error.details.items())))
