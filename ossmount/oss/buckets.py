"""The control plane of one bucket: listings, HEAD, symlinks and the check at mount, as coroutines with deadlines."""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import unquote_to_bytes

import trio

from ossmount.config import Credentials, SourceConfig
from ossmount.durations import Durations
from ossmount.errors import (
    CredentialsRefused,
    Damaged,
    DeadlineExceeded,
    Denied,
    InvalidArgument,
    NotFound,
    OssMountError,
    Throttled,
    Unavailable,
)
from ossmount.model import ListPage, ObjectInfo
from ossmount.oss.listing import parse_etag, parse_listing, parse_size
from ossmount.oss.rates.rates import Rates
from ossmount.oss.session import Answer, Question, Session

T = TypeVar("T")

#: Threads and kept connections. LISTs of 30 ms saturate one core at 8; a build asks for more where they take longer.
CONNECTIONS = 64
CHECK_ATTEMPTS = 3  # a person waits for the mount
DAMAGED_ATTEMPTS = 3  # an answer that is whole but wrong rarely gets better
FIRST_PAUSE = 0.1  # seconds; doubled for each attempt, and the half of it or more is waited
LONGEST_PAUSE = 2.0

_RETRIED = (Throttled, Unavailable, DeadlineExceeded, Damaged)


class Bucket:
    """Implements ossmount.oss.interface.ObjectLister. Raises ValueError for an endpoint or bucket name that is none."""

    def __init__(self, source: SourceConfig, rates: Rates | None = None) -> None:
        """rates: what may be asked of OSS; None: as much as OSS lets through."""
        self._source = source
        self._rates = rates or Rates()
        self._session = Session(source, CONNECTIONS)
        self._limiter = trio.CapacityLimiter(CONNECTIONS)
        self._requests: Counter[str] = Counter()
        self._retries = 0
        self._failures = 0
        self._durations: defaultdict[str, Durations] = defaultdict(Durations)

    def __repr__(self) -> str:
        return f"<Bucket {self._source.bucket} at {self._session.origin}>"

    def facts(self) -> dict[str, object]:
        """Requests made, by kind (each attempt counts: each is billed), attempts repeated, requests given up; and how long
        it took until they were answered."""
        durations = {kind.lower(): durations.facts() for kind, durations in self._durations.items()}
        counts = {"requests": dict(self._requests), "retries": self._retries, "failures": self._failures}
        return {**counts, "durations": durations}

    def close(self) -> None:
        """Closes the kept connections; a request in flight ends by itself."""
        self._session.close()

    async def list_page(
        self, prefix: bytes, *, delimiter: bytes = b"", start_after: bytes = b"", token: str = "", max_keys: int = 1000
    ) -> ListPage:
        return await self._list(prefix, delimiter, start_after, token, max_keys)

    async def head(self, key: bytes) -> ObjectInfo:
        """What HEAD tells; of a symlink the size and ETag are its target's. Raises NotFound."""
        _check_key(key)
        return await self.ask(Question("HEAD", "HEAD", key), lambda answer: object_info(key, answer.headers))

    async def symlink_target(self, key: bytes) -> bytes:
        """The key that a symlink names. Raises NotFound, and OssMountError for an object that is no symlink."""
        _check_key(key)
        return await self.ask(Question("GetSymlink", "GET", key, {"symlink": ""}), _symlink_target)

    async def check(self) -> None:
        """Verifies endpoint, credentials, bucket and prefix by one LIST. Raises with a message for the person who mounts."""
        prefix = self._source.prefix
        try:
            page = await self._list(prefix, b"", b"", "", 1, CHECK_ATTEMPTS)
        except Denied as failure:
            used = self._credentials()
            if used is not None and used.anonymous:
                advice = "no credentials were given: set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET or use --credentials"
                raise Denied(f"{failure}; {advice}") from failure
            raise
        except Damaged as failure:
            raise Damaged(f"{self._session.origin} does not answer like OSS ({failure}): check --endpoint") from failure
        if prefix and not page.objects:
            name = prefix.decode("utf-8", "backslashreplace")
            raise NotFound(f"the bucket {self._source.bucket} has no object below the prefix {name}")

    async def _list(
        self, prefix: bytes, delimiter: bytes, start_after: bytes, token: str, max_keys: int, attempts: float = math.inf
    ) -> ListPage:
        if not 1 <= max_keys <= 1000:
            raise InvalidArgument(f"a listing of {max_keys} keys: 1 to 1000 can be asked for")
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(max_keys)}
        for name, value in (("prefix", prefix), ("delimiter", delimiter), ("start-after", b"" if token else start_after)):
            if value:
                query[name] = _text(value, name)
        if token:
            query["continuation-token"] = token

        def parse(answer: Answer) -> ListPage:
            return parse_listing(
                answer.body, prefix=prefix, delimiter=delimiter, start_after=start_after, token=token, max_keys=max_keys
            )

        try:
            return await self.ask(Question("LIST", "GET", b"", query), parse, attempts)
        except NotFound as failure:  # a bucket cannot be absent as an object is: the caller would believe in an empty folder
            raise OssMountError(f"{failure}; {self._session.origin} may not be an endpoint of OSS") from failure

    async def ask(self, question: Question, parse: Callable[[Answer], T], attempts: float = math.inf) -> T:
        """Asks until an answer can be parsed, the attempts or --timeout run out, or OSS gives a definite refusal.

        parse runs in the request's thread and raises Damaged for an answer that is to be asked for again.
        """
        deadline = trio.current_time() + self._source.timeout
        attempt = 0
        failure: OssMountError
        repeated = False  # with other credentials than those that were refused
        while True:
            attempt += 1
            used = self._credentials()
            try:
                with trio.fail_at(deadline):
                    return await self._once(question, parse, deadline)
            except Denied as error:
                failure = error
                once = repeated and not isinstance(error, CredentialsRefused)
                if once or not await self._others(used, error, deadline):
                    raise
                repeated = True
            except _RETRIED as error:
                failure = error
            except trio.TooSlowError:
                name = question.key.decode("utf-8", "backslashreplace")
                limit = f"no answer from {self._session.origin} within {self._source.timeout:g} s (--timeout)"
                failure = DeadlineExceeded(f"{f'{question.kind} {name}'.rstrip()}: {limit}")
                break
            if attempt >= (min(attempts, DAMAGED_ATTEMPTS) if isinstance(failure, Damaged) else attempts):
                break
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 16)) * random.uniform(0.5, 1)
            if trio.current_time() + pause >= deadline:
                break
            await trio.sleep(pause)
            self._retries += 1
        self._failures += 1
        raise failure

    def _credentials(self) -> Credentials | None:
        try:
            return self._source.credentials()
        except CredentialsRefused:
            return None  # there are none at the moment

    async def _others(self, used: Credentials | None, refusal: Denied, deadline: float) -> bool:
        """Whether there are other credentials than those that were refused; where that may help, they are waited for."""
        if isinstance(refusal, CredentialsRefused):
            with trio.move_on_at(deadline):
                return await self._source.renew(used)
        return self._credentials() != used

    async def _once(self, question: Question, parse: Callable[[Answer], T], deadline: float) -> T:
        """One request in a thread, where its answer is parsed too. A cancelled one is abandoned: its thread ends by its own
        time limits and keeps its place in the limiter until then.
        """
        limit = time.monotonic() + (deadline - trio.current_time())

        def exchange() -> tuple[T, int]:
            answer = self._session.request(question, limit)
            return parse(answer), len(answer.body)

        await self._rates.take()
        self._requests[question.kind] += 1
        began = trio.current_time()
        try:
            parsed, size = await trio.to_thread.run_sync(exchange, abandon_on_cancel=True, limiter=self._limiter)
        except OssMountError as error:
            refused = isinstance(error, Throttled)
            self._rates.answered(not refused, refused)
            raise
        self._durations[question.kind].add(trio.current_time() - began)
        self._rates.answered(1, 0)
        self._rates.spent(size)
        return parsed


def object_info(key: bytes, headers: Mapping[str, str]) -> ObjectInfo:
    """What the headers of an answer to HEAD or GET of a whole object tell; their names in lower case. Raises Damaged."""
    try:
        modified = parsedate_to_datetime(headers["last-modified"])
        crc64 = headers.get("x-oss-hash-crc64ecma", "")
        return ObjectInfo(
            key,
            parse_size(headers["content-length"]),
            int(modified.timestamp()) * 1_000_000_000,
            parse_etag(headers["etag"]),
            headers.get("x-oss-object-type", "Normal"),
            headers.get("x-oss-storage-class", "Standard"),
            int(crc64) if crc64.isascii() and crc64.isdigit() else None,
        )
    except KeyError as error:
        raise Damaged(f"the answer for {key!r} has no header {error.args[0]}") from None
    except ValueError:
        raise Damaged(f"the answer for {key!r} has Last-Modified {headers['last-modified']!r}") from None


def _symlink_target(answer: Answer) -> bytes:
    target = answer.headers.get("x-oss-symlink-target", "")
    if not target:
        raise Damaged("the answer to GetSymlink names no target")
    return unquote_to_bytes(target)


def _check_key(key: bytes) -> None:
    """An empty key would ask for the bucket, and OSS has no key that is not UTF-8."""
    if not key:
        raise InvalidArgument("the key is empty")
    try:
        key.decode()
    except UnicodeDecodeError:
        raise NotFound(f"no object can have the key {key!r}: it is not UTF-8") from None


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"the {name} {value!r} is not UTF-8, as every key of OSS is") from None
