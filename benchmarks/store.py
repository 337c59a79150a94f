"""The fast store: nginx serves the objects as static files, our lister answers what concerns whole buckets.

One nginx listens on one port for each network (latency and bandwidth); it ignores signatures, so that OSS and S3 clients can
both read it, path style and virtual-host style (BUCKET.localhost). The listening sockets are opened here on port 0 and
inherited by nginx (its NGINX variable), so no port is ever guessed.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.network import Network
from benchmarks.processes import TimedOut, end, own_environment, wait_until

ECHO_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
START_LIMIT = 30.0  # seconds
SETTLE_LIMIT = 0.5  # seconds

HEAD = """\
load_module {echo};
daemon off;
worker_processes 2;
pid {scratch}/nginx.pid;
error_log {scratch}/error.log warn;
{user}
events {{ worker_connections 8192; }}
http {{
  sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 3600s; keepalive_requests 100000000; reset_timedout_connection on;
  open_file_cache max=100000 inactive=1h; open_file_cache_valid 1h; open_file_cache_min_uses 1;
  default_type application/octet-stream; etag on; server_tokens off;
  client_body_temp_path {scratch}/tmp; proxy_temp_path {scratch}/tmp; fastcgi_temp_path {scratch}/tmp;
  uwsgi_temp_path {scratch}/tmp; scgi_temp_path {scratch}/tmp;
  log_format bench '$server_port\\t$kind\\t$request_method\\t$status\\t$body_bytes_sent\\t$request_uri\\t$http_user_agent';
  access_log {scratch}/access.log bench;
  upstream lister {{ server unix:{scratch}/lister.sock; keepalive 64; }}
"""

# A latency of 0 has no echo_sleep at all: the sub-request alone costs about 20 microseconds.
SERVER = """\
  server {{
    listen 127.0.0.1:{port}{default};
    server_name {names};
    set $kind object;
    root {root}{vhost};
    error_page 404 = @missing;
    location ~ {bucket} {{ set $kind list; {proxy} }}
{synthetic}    location / {{ {objects} }}
    location @object {{ try_files $uri =404; {limit} }}
    location = /.status {{ access_log off; stub_status; }}
    location @missing {{ internal; default_type application/xml;
      return 404 '<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>'; }}
  }}
"""

# Objects of synthetic buckets: path style only.
SYNTHETIC = """\
    location ~ "^/synthetic-" {{ {proxy} }}
"""

PROXY = """proxy_pass http://lister; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Bench-Delay {delay}; proxy_set_header X-Bench-Prefix "{vhost}";
      proxy_buffering off; proxy_intercept_errors off;"""


@dataclass(frozen=True)
class Requests:
    """What the store was asked for, counted by kind; body bytes that it sent for objects."""

    get: int = 0
    head: int = 0
    list: int = 0
    other: int = 0
    bytes_: int = 0

    @property
    def total(self) -> int:
        return self.get + self.head + self.list + self.other


def configuration(scratch: Path, root: Path, ports: Sequence[tuple[Network, int]]) -> str:
    """The text of nginx.conf."""
    # As root the workers stay root: the data may lie below a home folder that nobody else may enter.
    user = "user root;" if os.geteuid() == 0 else ""
    parts = [HEAD.format(echo=ECHO_MODULE, scratch=scratch, user=user)]
    for network, port in ports:
        for vhost in ("", "/$bench_bucket"):
            parts.append(_server(network, port, root, vhost))
    return "".join(parts) + "}\n"


def _server(network: Network, port: int, root: Path, vhost: str) -> str:
    objects = f"echo_sleep {network.object_ms / 1000:.3f}; echo_exec @object;" if network.object_ms else "try_files $uri =404;"
    rate = f"limit_rate {network.bandwidth}; sendfile_max_chunk 256k;" if network.bandwidth else "sendfile_max_chunk 2m;"
    return SERVER.format(
        port=port,
        default="" if vhost else " default_server",
        names=r'"~^(?<bench_bucket>[a-z0-9-]+)\.localhost$"' if vhost else "_",
        root=root,
        vhost=vhost,
        bucket='"^/$"' if vhost else '"^/[^/]+/?$"',
        synthetic="" if vhost else SYNTHETIC.format(proxy=PROXY.format(delay=network.object_ms, vhost="")),
        proxy=PROXY.format(delay=network.list_ms, vhost=vhost),
        objects=objects if network.object_ms else f"{objects} {rate}",
        limit=rate,
    )


class Store(Protocol):
    """What the rounds need of a store."""

    def url(self, network: Network) -> str: ...

    def mark(self) -> int:
        """A place in the request log."""
        ...

    def requests(self, since: int) -> Requests:
        """The requests logged since a mark."""
        ...


class RealStore:
    """OSS itself: somebody else's log, so no requests are counted."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def url(self, network: Network) -> str:
        return self._endpoint

    def mark(self) -> int:
        return 0

    def requests(self, since: int) -> Requests:
        return Requests()


class LocalStore:
    """Our own running nginx. Use serve(), which ends it."""

    def __init__(self, scratch: Path, ports: Sequence[tuple[Network, int]]) -> None:
        self._log = scratch / "access.log"
        self._ports = {network.name: port for network, port in ports}
        self._asked = 0  # status requests so far: nginx counts them and does not log them
        self._read = 0  # bytes of the log that were looked at
        self._logged = 0  # lines in them

    def port(self, network: Network) -> int:
        return self._ports[network.name]

    def url(self, network: Network) -> str:
        return f"http://127.0.0.1:{self.port(network)}"

    def mark(self) -> int:
        self._settle()
        return self._log.stat().st_size

    def _settle(self) -> None:
        """Waits until nginx has logged what it was asked: it writes a line after the client has the last byte.

        Whoever still reads ahead when the limit ends is counted as far as the log goes.
        """
        with contextlib.suppress(TimedOut):
            wait_until(self._all_logged, SETTLE_LIMIT, "requests are still being served")

    def _all_logged(self) -> bool:
        self._asked += 1
        connection = http.client.HTTPConnection("127.0.0.1", min(self._ports.values()), timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/.status")
            # Three lines: "Active connections", the names of the totals, then accepts, handled, requests.
            total = int(connection.getresponse().read().split(b"\n")[2].split()[2]) - self._asked
        with open(self._log, "rb") as stream:
            stream.seek(self._read)
            fresh = stream.read()
        self._read += len(fresh)
        self._logged += fresh.count(b"\n")
        return self._logged >= total

    def requests(self, since: int) -> Requests:
        self._settle()
        with open(self._log, "rb") as stream:
            stream.seek(since)
            return count(stream.read())


def count(log: bytes) -> Requests:
    """Adds up lines of the request log."""
    counts = {"get": 0, "head": 0, "list": 0, "other": 0}
    sent = 0
    for line in log.split(b"\n"):
        fields = line.split(b"\t")
        if len(fields) < 6:
            continue
        _, kind, method, _, body, _ = fields[:6]
        if method == b"HEAD":
            counts["head"] += 1
        elif method != b"GET":
            counts["other"] += 1
        elif kind == b"list":
            counts["list"] += 1
        else:
            counts["get"] += 1
            sent += int(body)
    return Requests(counts["get"], counts["head"], counts["list"], counts["other"], sent)


def missing_software() -> str:
    """What must be installed first, "" when nothing."""
    if shutil.which("nginx", path=_path()) is None or not ECHO_MODULE.exists():
        return "the store needs nginx and its echo module: apt-get install nginx-light libnginx-mod-http-echo"
    return ""


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


@contextlib.contextmanager
def serve(scratch: Path, root: Path, networks: Sequence[Network]) -> Iterator[LocalStore]:
    """Serves the buckets below root for each of the networks until the context ends."""
    missing = missing_software()
    if missing:
        raise RuntimeError(missing)
    with contextlib.ExitStack() as stack:
        _start_lister(stack, scratch, root)
        ports = _start_nginx(stack, scratch, root, networks)
        yield LocalStore(scratch, ports)


def _start_lister(stack: contextlib.ExitStack, scratch: Path, root: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.lister", "--socket", str(scratch / "lister.sock"), "--root", str(root)]
    lister = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=own_environment()
    )
    stack.callback(end, lister)
    assert lister.stdout is not None
    if lister.stdout.readline() != b"ready\n":
        raise RuntimeError("the lister did not start; its messages stand above")


def _start_nginx(
    stack: contextlib.ExitStack, scratch: Path, root: Path, networks: Sequence[Network]
) -> list[tuple[Network, int]]:
    (scratch / "tmp").mkdir(exist_ok=True)
    with contextlib.ExitStack() as sockets:
        opened = [sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096)) for _ in networks]
        for each in opened:
            # nginx does not do it to inherited sockets: its two workers race for each connection, and the loser would
            # sit in a blocking accept(2) while its other connections starve.
            each.setblocking(False)
        ports = [(network, each.getsockname()[1]) for network, each in zip(networks, opened, strict=True)]
        (scratch / "nginx.conf").write_text(configuration(scratch, root, ports))
        descriptors = [each.fileno() for each in opened]
        nginx = subprocess.Popen(
            [shutil.which("nginx", path=_path()) or "nginx", "-c", str(scratch / "nginx.conf"), "-p", str(scratch)],
            env={**os.environ, "NGINX": "".join(f"{descriptor};" for descriptor in descriptors)},
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        stack.callback(end, nginx)
    wait_until(lambda: nginx.poll() is not None or (scratch / "nginx.pid").exists(), START_LIMIT, "nginx did not start")
    if nginx.poll() is not None:
        assert nginx.stderr is not None
        raise RuntimeError(f"nginx ended at once: {nginx.stderr.read().decode(errors='replace').strip()}")
    return ports
