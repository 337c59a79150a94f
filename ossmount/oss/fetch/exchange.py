"""What one GET says and what its answer must look like. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable

from ossmount.config import Credentials, SourceConfig
from ossmount.errors import Changed, Unavailable
from ossmount.oss.endpoint import Endpoint
from ossmount.oss.fetch.answer import Head, Malformed, content_range
from ossmount.oss.fetch.job import Job
from ossmount.oss.fetch.settings import WorkerSettings
from ossmount.oss.fetch.trouble import Retry, Trouble, damaged
from ossmount.oss.signing import Signer

_ETAG = re.compile(r"[!#-~]{1,256}")  # RFC 9110, 8.8.3, without obs-text


class RequestWriter:
    """Writes the heads of ranged GETs for one bucket."""

    def __init__(self, endpoint: Endpoint, signer: Signer, *, proxy_authorization: str = "", absolute: bool = False) -> None:
        """absolute: the request goes to a proxy for plain HTTP, which wants the whole URL in it."""
        self._endpoint = endpoint
        self._signer = signer
        self._origin = endpoint.origin if absolute else ""
        fixed = f"Host: {endpoint.host_header}\r\nAccept-Encoding: identity\r\n"
        if absolute and proxy_authorization:
            fixed += f"Proxy-Authorization: {proxy_authorization}\r\n"
        self._fixed = fixed

    def get(self, job: Job) -> bytes:
        """The GET for what the job still misses. A whole object is asked for without Range: then OSS sends its CRC64.

        Raises Trouble for an ETag or credentials that no header can carry.
        """
        if not _ETAG.fullmatch(job.etag):
            raise Trouble(Unavailable, Retry.NEVER, f"ETag {job.etag!r} cannot be asked for")
        headers = {"If-Match": f'"{job.etag}"'}
        if not (job.whole and job.scatter.received == 0):
            headers["Range"] = f"bytes={job.position}-{job.start + job.length - 1}"
            headers["x-oss-range-behavior"] = "standard"
        fields = self._signer.headers("GET", job.key, headers)
        values = "".join([value for _, value in fields])
        if not (values.isascii() and values.isprintable()):
            raise Trouble(Unavailable, Retry.NEVER, "the credentials hold characters that HTTP forbids in headers")
        lines = "\r\n".join([f"{name}: {value}" for name, value in fields])
        path = self._endpoint.path(job.key)
        return f"GET {self._origin}{path} HTTP/1.1\r\n{self._fixed}{lines}\r\n\r\n".encode("ascii")


def request_writer(
    settings: WorkerSettings, credentials: Callable[[], Credentials], clock: Callable[[], float]
) -> RequestWriter:
    """The one of a fetch process."""
    endpoint = Endpoint(*settings.endpoint)
    source = SourceConfig(settings.bucket, region=settings.region, credentials=credentials)
    proxied = settings.proxy is not None and not endpoint.tls
    authorization = settings.proxy[2] if settings.proxy else ""
    return RequestWriter(endpoint, Signer(source, clock), proxy_authorization=authorization, absolute=proxied)


def judge(head: Head, job: Job) -> None:
    """Holds a 200 or 206 against what was asked for and notes the object's CRC64. Raises Trouble."""
    headers = head.headers
    etag = headers.get(b"etag")
    if etag is None:
        raise damaged(f"{head.status} without an ETag")
    if etag != b'"%b"' % job.etag.encode():
        raise Trouble(Changed, Retry.NEVER, f"the object has ETag {etag.decode('ascii', 'replace')} now, not {job.etag}")
    ranged = not (job.whole and job.scatter.received == 0)
    if ranged != (head.status == 206):
        raise damaged("the range was ignored" if ranged else "206 to a request without a range")
    if ranged:
        _judge_range(headers.get(b"content-range", b""), job)
    if head.length is None and not head.chunked:
        # it would end with the connection: too little is told from too much by nothing
        raise damaged("neither Content-Length nor chunks")
    if head.length is not None and head.length != job.missing:
        raise damaged(f"Content-Length is {head.length} for {job.missing} bytes")
    if job.summed or not ranged:
        crc = headers.get(b"x-oss-hash-crc64ecma")
        if crc is not None and (not crc.isdigit() or len(crc) > 20):
            raise damaged("x-oss-hash-crc64ecma is no number")
        job.crc64 = None if crc is None else int(crc)


def _judge_range(value: bytes, job: Job) -> None:
    try:
        first, end, size = content_range(value)
    except Malformed as malformed:
        raise damaged(str(malformed)) from None
    if size is not None and size != job.size:
        raise Trouble(Changed, Retry.NEVER, f"the object has {size} bytes now, not {job.size}")
    if (first, end) != (job.position, job.start + job.length):
        raise damaged(f"Content-Range is {first}-{end - 1}, not {job.position}-{job.start + job.length - 1}")
