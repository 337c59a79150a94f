"""The store: name, connection, clock, credentials and what they permit, latency and bandwidth. Reads only."""

from __future__ import annotations

import re
import socket
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from ossmount.config import SourceConfig
from ossmount.doctor.finding import Finding, bad, good, note
from ossmount.errors import Denied, NoSuchBucket, OssMountError, Throttled
from ossmount.model import ListPage
from ossmount.oss.endpoint import Endpoint, endpoint_of
from ossmount.oss.listing import parse_listing
from ossmount.oss.session import MAX_BODY, Answer, Question, Session

#: The region in a host of the service. oss-accelerate is no region: any machine's nearest one answers there.
_SERVICE = re.compile(r"(?:^|\.)oss-(?!accelerate)([a-z]{2,}-[a-z0-9-]+?)(-internal)?\.aliyuncs\.com$")
_SKEW = 300.0  # seconds: OSS refuses 900
_NAMES = 100  # of the listing
_ROUNDS = 5  # small requests
_PROBE = MAX_BODY  # bytes of one object, at most, for the bandwidth
_FAR = 0.03  # seconds of a small request: more is another region, or the public internet
_SLOW = 50e6  # bytes/s of one connection


class Probe(NamedTuple):
    """What was measured: for --json, too."""

    latency: float  # seconds, median of small requests
    bandwidth: float  # bytes/s of one connection; 0: there was no object to read


def place(endpoint: Endpoint, here: str) -> Finding:
    """Whether this endpoint is the right one for a machine in the region `here`; "": where that is, is not known."""
    host = endpoint.host
    there = _SERVICE.search(host)
    region, internal = (there[1], bool(there[2])) if there else ("", False)
    if region and here and region != here:
        text = f"{host}: the bucket is in {region}, this machine in {here}"
        return note("endpoint", text, f"a machine in {region}, or a replica of the bucket in {here} (cross-region replication)")
    if region and not internal:
        if here:
            text = f"{host}: over the public internet, though this machine is in {here}, too"
            return note("endpoint", text, f"--endpoint oss-{here}-internal.aliyuncs.com: faster, and costs no traffic")
        remedy = "on a machine in that region: its -internal endpoint, which is faster and costs no traffic"
        return note("endpoint", f"{host}: over the public internet", remedy)
    if not endpoint.tls:
        return note("endpoint", f"{host}: plain HTTP, readable on the way", "https://, unless the network is your own")
    return good("endpoint", f"{host}, TLS{', in the region of this machine' if region and here else ''}")


def remedy(failure: OssMountError, actions: str) -> str:
    """What to do about a request that failed. actions: what a policy has to permit."""
    if isinstance(failure, Throttled):
        return "ask for a higher limit of the account or bucket, or make fewer requests: --limit-requests on each mount"
    if isinstance(failure, Denied):
        return f"keys that have not expired (renew them at their source), and a policy with {actions} on the bucket"
    return "check --endpoint, --proxy, routes and security groups"


class Store:
    """The checks of one source; each later one needs the former."""

    def __init__(self, source: SourceConfig, region: str = "", clock: Callable[[], float] = time.time) -> None:
        """region: of this machine; "" where it is not known."""
        self._source = source
        self._region = region
        self._clock = clock
        self._endpoint: Endpoint = endpoint_of(source)
        self._session = Session(source, connections=1)
        self.probe: Probe | None = None

    def close(self) -> None:
        self._session.close()

    def findings(self) -> Iterator[Finding]:
        proxy = urlsplit(self._source.proxy).hostname
        host = proxy or self._endpoint.host  # behind a proxy it is for the proxy to know the endpoint's address
        try:
            addresses = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
        except OSError as error:
            option = "--proxy" if proxy else "--endpoint or --region"
            yield bad("name", f"{host}: {error.strerror}", f"check {option}, and this machine's DNS")
            return
        yield good("name", f"{f'the proxy {host}' if proxy else host} is {', '.join(addresses[:4])}")
        yield place(self._endpoint, self._region)
        try:
            page = yield from self._list()
        except OssMountError as failure:
            yield self._refused(failure)
            return
        yield from self._get(page)

    def _list(self) -> Generator[Finding, None, ListPage]:
        query = {
            "list-type": "2",
            "max-keys": str(_NAMES),
            "encoding-type": "url",
            "prefix": self._source.prefix.decode("utf-8", "replace"),
        }
        begin = time.monotonic()
        answer = self._ask(Question("LIST", "GET", query=query))
        took = time.monotonic() - begin
        date = answer.headers.get("date", "")
        page = parse_listing(answer.body, prefix=self._source.prefix, max_keys=_NAMES)
        where = f"{self._source.bucket}/{self._source.prefix.decode('utf-8', 'replace')}"
        if not page.objects and not page.prefixes:
            yield bad("list", f"nothing lies below {where}", "check the prefix")
        else:
            yield good("list", f"permitted on {where}; {took * 1000:.0f} ms with the connection")
        yield self._clock_finding(date)
        return page

    def _clock_finding(self, date: str) -> Finding:
        try:
            offset = parsedate_to_datetime(date).timestamp() - self._clock()
        except (TypeError, ValueError):
            return note("clock", "the store tells no time", "nothing, if requests are not refused")
        if abs(offset) > _SKEW:
            return note(
                "clock", f"this machine is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead'}", "start chrony or ntpd"
            )
        return good("clock", f"within {abs(offset):.0f} s of the store's")

    def _refused(self, failure: OssMountError) -> Finding:
        """The first request has failed."""
        if isinstance(failure, NoSuchBucket):
            return bad("bucket", str(failure), "check its name and region")
        subject = "credentials" if isinstance(failure, Denied) else "connection"
        return bad(subject, str(failure), remedy(failure, "oss:ListObjects and oss:GetObject"))

    def _get(self, page: ListPage) -> Iterator[Finding]:
        """A look at the smallest file for latency, at the largest for bandwidth."""
        files = [each for each in page.objects if each.size and not each.key.endswith(b"/")]
        if not files:
            yield note("read", f"no file among the first {_NAMES} names: not tried", "name a prefix that has files")
            return
        small, large = min(files, key=lambda each: each.size), max(files, key=lambda each: each.size)
        try:
            times = [self._timed(small.key, 1)[0] for _ in range(_ROUNDS)]
            seconds, received = self._timed(large.key, min(large.size, _PROBE))
        except OssMountError as failure:
            yield bad("read", str(failure), remedy(failure, "oss:GetObject"))
            return
        latency = statistics.median(times)
        yield good("read", "permitted")
        self.probe = Probe(latency, received / seconds if received > 1 << 20 else 0.0)
        text = f"{latency * 1000:.1f} ms for one byte (median of {_ROUNDS})"
        far = "the bucket's own region, its -internal endpoint; look-ahead hides latency, not that of the first file"
        yield note("latency", text, far) if latency > _FAR else good("latency", text)
        if self.probe.bandwidth:
            text = f"{self.probe.bandwidth / 1e6:,.0f} MB/s over one connection ({received >> 20} MiB)"
            slow = "a mount uses up to 128 connections; `ossmount bench` measures all of them"
            yield note("bandwidth", text, slow) if self.probe.bandwidth < _SLOW else good("bandwidth", text)

    def _timed(self, key: bytes, length: int) -> tuple[float, int]:
        begin = time.monotonic()
        answer = self._ask(Question("GET", "GET", key, headers={"Range": f"bytes=0-{length - 1}"}))
        return time.monotonic() - begin, len(answer.body)

    def _ask(self, question: Question) -> Answer:
        return self._session.request(question, time.monotonic() + self._source.timeout)
