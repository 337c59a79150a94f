"""Requests of the control plane through oss2's session, blocking, made in worker threads.

The one place where exceptions of requests, urllib3 and the socket become ours.
"""

from __future__ import annotations

import http.cookiejar
import logging
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import requests
import requests.adapters

from ossmount.config import SourceConfig
from ossmount.errors import DeadlineExceeded, Denied, OssMountError, Unavailable
from ossmount.oss import sdk
from ossmount.oss.answers import failure_of, parse_refusal
from ossmount.oss.clock import REFUSAL, ServerClock
from ossmount.oss.endpoint import encode_query, endpoint_of, quote_name
from ossmount.oss.signing import Signer
from ossmount.oss.trust import client_context

#: A page of 1,000 keys of 1,023 bytes, each byte percent-encoded, stays below 5 MiB.
MAX_BODY = 8 << 20
_CHUNK = 64 << 10
LONGEST_SILENCE = 15.0  # seconds
_SHOWN = ("prefix", "start-after", "symlink", "uploads", "partNumber")  # of a query, in messages

OSS2 = sdk.load()
_log = logging.getLogger(__name__)


class Question(NamedTuple):
    """One request of the control plane."""

    kind: str  # what the counters call it
    method: str
    key: bytes = b""  # UTF-8; b"" asks the bucket itself
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Answer(NamedTuple):
    """An answer of any status; the names of the headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Session:
    """Connections to one bucket, `connections` of them kept alive. Its requests may be made from several threads."""

    def __init__(self, source: SourceConfig, connections: int) -> None:
        self._source = source
        self._endpoint = endpoint_of(source)
        self._clock = ServerClock(tell=_tell_offset)
        self._signer = Signer(source, self._clock)
        self._proxies = {"http": source.proxy, "https": source.proxy} if source.proxy else None
        logging.getLogger("oss2").setLevel(logging.WARNING)  # at DEBUG it logs security tokens
        kind = _Adapter if self._endpoint.tls else requests.adapters.HTTPAdapter  # authorities take 50 ms to load
        self._session = OSS2.http.Session(adapter=kind(pool_connections=1, pool_maxsize=connections))
        inner = self._session.session
        inner.trust_env = False  # else ~/.netrc would replace the signature; proxies come from the configuration
        inner.get_redirect_target = lambda _response: None  # not followed: a signature is for one host
        inner.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))

    def __repr__(self) -> str:
        return f"<Session {self._endpoint.origin}{self._endpoint.base}>"

    @property
    def origin(self) -> str:
        return self._endpoint.origin

    def request(self, question: Question, deadline: float) -> Answer:
        """Makes one request and reads its body, until time.monotonic() is deadline. Raises ossmount.errors.

        One that is refused for its time is made once more, with OSS's.
        """
        what = _describe(question)
        for again in (True, False):
            began = time.monotonic()
            answer = self._exchange(question, what, deadline)
            _log.debug("%s: HTTP %d in %.0f ms", what, answer.status, 1000 * (time.monotonic() - began))
            if 200 <= answer.status < 300:
                break
            refusal = parse_refusal(*answer)
            if not (again and refusal.code == REFUSAL and self._clock.learn(answer.headers.get("date", ""))):
                raise failure_of(refusal, what)
        return answer

    def close(self) -> None:
        self._session.session.close()

    def _exchange(self, question: Question, what: str, deadline: float) -> Answer:
        """One request and its answer, whatever that says."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{what}: no time left")
        # A quarter of the deadline for a silent connection leaves time for more attempts.
        silence = min(LONGEST_SILENCE, max(self._source.timeout / 4, 1.0))
        timeout = (min(self._source.connect_timeout, left), min(silence, left))
        request = self._signed(question)
        try:
            response = self._session.do_request(request, timeout).response
        except OSS2.exceptions.RequestError as error:
            raise self._failure(what, error.exception) from error
        with response:
            try:
                body = _read(response, deadline)
            except requests.RequestException as error:
                raise self._failure(what, error) from error
        if body is None:
            raise DeadlineExceeded(f"{what}: the answer took longer than --timeout")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, body)

    def _signed(self, question: Question) -> Any:
        # "%2F" in place of "/" keeps requests from taking "//", "." and ".." in a key for steps in a tree
        url = self._endpoint.origin + self._endpoint.base + quote_name(question.key)
        headers = dict(self._signer.headers(question.method, question.key, question.headers, question.query))
        return OSS2.http.Request(
            question.method,
            url,
            data=question.body,
            params=dict(question.query),
            headers=headers,
            proxies=self._proxies,
            app_name="ossmount",
        )

    def _failure(self, what: str, error: BaseException) -> OssMountError:
        """What a failed exchange means, from the innermost exception that tells."""
        origin = self._endpoint.origin
        if isinstance(error, requests.exceptions.ProxyError):
            return Unavailable(f"{what}: the proxy cannot be used: check --proxy")
        chain = list(_causes(error))
        for cause in chain:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return Denied(f"{what}: the certificate of {origin} is not valid: {cause.verify_message}")
            if isinstance(cause, socket.gaierror):
                return Unavailable(f"{what}: the host name of {origin} cannot be resolved ({cause.strerror}): check --endpoint")
            if isinstance(cause, ssl.SSLError):
                advice = "write http:// before the endpoint if it does not speak https"
                return Unavailable(f"{what}: TLS with {origin} failed ({cause.reason or cause}): {advice}")
            if isinstance(cause, ConnectionRefusedError):
                return Unavailable(f"{what}: {origin} refuses connections: check --endpoint")
        if any(isinstance(cause, (TimeoutError, requests.Timeout)) for cause in chain):
            return DeadlineExceeded(f"{what}: {origin} does not answer in time")
        return Unavailable(f"{what}: the connection to {origin} failed: {chain[-1]}")


class _Adapter(requests.adapters.HTTPAdapter):
    """Checks certificates with our context, also behind a proxy; these two methods are HTTPAdapter's only way in for one."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        self._context = client_context()
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)


def _read(response: requests.Response, deadline: float) -> bytes | None:
    """The whole body; None when it is not there by the deadline."""
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_content(_CHUNK):
        size += len(chunk)
        if size > MAX_BODY:
            raise requests.RequestException(f"the answer has more than {MAX_BODY} bytes")
        if time.monotonic() > deadline:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and everything inside it: requests and urllib3 wrap causes in reason, args and __cause__."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [getattr(current, "reason", None), current.__cause__, current.__context__, *current.args]


def _tell_offset(seconds: float) -> None:
    _log.warning("OSS's clock is %+.0f s from this machine's: requests are signed with OSS's time; set the clock", seconds)


def _describe(question: Question) -> str:
    shown = {name: value for name, value in question.query.items() if name in _SHOWN}
    target = question.key.decode("utf-8", "backslashreplace") + ("?" + encode_query(shown) if shown else "")
    return f"{'LIST' if 'list-type' in question.query else question.method} {target}".rstrip()
