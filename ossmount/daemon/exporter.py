"""The exporter: a process of the mount that shows its numbers to Prometheus, so that no scrape takes time of the event loop.

It asks the daemon over the control socket, at most once a second however often it is scraped (about 2 ms of the event loop),
and does the rest by itself: HTTP, slow clients, text. It ends with the daemon. Names and meanings: ossmount.metrics.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ossmount.children.tie import tie_to
from ossmount.control.client import ControlError, ask
from ossmount.metrics import COUNTER, GAUGE, METRICS, PREFIX, UP, Metric, Status

FRESH: Final = 1.0  # seconds for which an answer of the daemon is shown
PATIENCE: Final = 5.0  # seconds for its answer, and for a client to say what it wants
TEXTFILE: Final = 15.0  # seconds between two writings of the file
REBIND: Final = 1.0  # seconds between two tries to get the port
_SMALLEST, _LARGEST = 6, 27  # of the buckets that are shown, as powers of two of microseconds: 64 us and 134 s


class StatusCollector(Collector):
    """Makes the families of prometheus-client from what the daemon answers."""

    def __init__(self, mountpoint: str, look: Callable[[], Status | None]) -> None:
        self._mountpoint = mountpoint
        self._look = look

    def collect(self) -> Iterator[Family]:
        status = self._look()
        up = GaugeMetricFamily(PREFIX + UP.name, UP.meaning, labels=["mountpoint"])
        up.add_metric(self._texts(()), float(status is not None))
        yield up
        if status is not None:
            for metric in METRICS:
                yield self._family(metric, status)

    def _family(self, metric: Metric, status: Status) -> Family:
        name, labels = PREFIX + metric.name, ["mountpoint", *metric.labels]
        if metric.kind in (COUNTER, GAUGE):
            make = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
            simple = make(name, metric.meaning, labels=labels)
            for values, value in metric.read(status):
                simple.add_metric(self._texts(values), value)
            return simple
        histogram = HistogramMetricFamily(name, metric.meaning, labels=labels)
        for values, facts in metric.read(status):
            histogram.add_metric(self._texts(values), cumulated(facts["buckets"]), facts["seconds"])
        return histogram

    def _texts(self, values: Sequence[str]) -> list[str]:
        """Labels are UTF-8; a path may be any bytes."""
        return [value.encode("utf-8", "backslashreplace").decode() for value in (self._mountpoint, *values)]


def cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    """(upper bound in seconds, so many at most) as Prometheus has histograms; every second power of two is enough."""
    below = list(itertools.accumulate(buckets))
    total = below[-1] if below else 0
    shown = [(index, below[min(index, len(below) - 1)] if below else 0) for index in range(_SMALLEST, _LARGEST + 1)]
    return [*((repr((1 << index) / 1e6), float(count)) for index, count in shown), ("+Inf", float(total))]


class Looking:
    """The daemon's status, asked for again when it is older than FRESH. Safe on any thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._asked = -FRESH

    def __call__(self) -> Status | None:
        with self._lock:
            if time.monotonic() - self._asked >= FRESH:
                try:
                    self._status = ask(self._path, "status", timeout=PATIENCE)
                except ControlError:
                    self._status = None
                self._asked = time.monotonic()
            return self._status


def make_handler(registry: CollectorRegistry) -> type[http.server.BaseHTTPRequestHandler]:
    """What answers GET /metrics, and nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = PATIENCE
        server_version = "ossmount"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self._answer(404, "text/plain; charset=utf-8", b"the numbers are at /metrics\n")
                return
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, kind, encode(registry))

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            with contextlib.suppress(ConnectionError, TimeoutError):  # a client that went away
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: a line for each scrape would fill the log."""

    return Handler


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Without asking the resolver for our name, as HTTPServer does."""
        super(http.server.HTTPServer, self).server_bind()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, *_: Any) -> None:
        """A client that breaks off is no event."""


def serve(host: str, port: int, registry: CollectorRegistry, tell: Callable[[str], None]) -> None:
    """Serves until the process ends. The daemon before this one may still have the port for a moment."""
    problem = ""
    while True:
        try:
            server = Server(host, port, make_handler(registry))
        except OSError as error:
            if problem != (problem := error.strerror or str(error)):
                tell(f"cannot listen: {problem}")
            time.sleep(REBIND)
            continue
        tell("")
        server.serve_forever()


def write_textfile(path: Path, registry: CollectorRegistry) -> None:
    """Atomically, readable by everybody: node_exporter is another user. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(generate_latest(registry))
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def main(control: str, parent: str, mountpoint: str, path: str, host: str, port: str, textfile: str) -> None:
    """The process: started by ossmount.daemon.exporting, which hears on `control` what is the matter; "": nothing."""
    tie_to(int(parent), "ossmount-export")
    with socket.socket(fileno=int(control)) as daemon:

        def tell(problem: str) -> None:
            daemon.sendall(problem.encode()[:500] + b"\n")

        registry = CollectorRegistry()
        registry.register(StatusCollector(os.fsdecode(bytes.fromhex(mountpoint)), Looking(os.fsdecode(bytes.fromhex(path)))))
        if port != "0":
            threading.Thread(target=serve, args=(host, int(port), registry, tell), daemon=True).start()
        written = Path(os.fsdecode(bytes.fromhex(textfile))) if textfile else None
        problem = ""
        while written is not None:
            try:
                write_textfile(written, registry)
                now = ""
            except OSError as error:
                now = f"{written} cannot be written: {error.strerror}"
            if now != problem or port == "0":
                problem = now
                tell(problem)
            time.sleep(TEXTFILE)
        daemon.recv(1)  # until the daemon closes its end, if it lives that long
