"""Through proxies: absolute URLs for HTTP, CONNECT for HTTPS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from ossmount.errors import Unavailable
from tests.unit.oss.fetch.scripted import Wanted, fetch_all, head, honest, serving, source

DATA = bytes(range(256)) * 100


class TunnelProxy:
    """Answers each CONNECT with the next of its answers (the last one stays), then relays; closes instead of b""."""

    def __init__(self, answers: list[bytes], target: tuple[str, int]) -> None:
        self._answers = answers
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.heads: list[bytes] = []
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(30)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.heads.append(head)
            answer = self._answers[min(len(self.heads), len(self._answers)) - 1]
            if not answer:
                client.close()
                continue
            client.sendall(answer)
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for ends in ((client, server), (server, client)):
                thread = threading.Thread(target=_relay, args=ends, daemon=True)
                thread.start()
                self._threads.append(thread)


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def tunnelling(answers: list[bytes], port: int) -> Iterator[TunnelProxy]:
    proxy = TunnelProxy(answers, ("127.0.0.1", port))
    try:
        yield proxy
    finally:
        proxy.stop()


@pytest.mark.parametrize("by_option", [True, False])
def test_plain_http_asks_the_proxy_for_whole_urls(by_option: bool) -> None:
    with serving(lambda request: [honest(DATA, "E1", request)]) as proxy:
        url = proxy.url.replace("//", "//me:p%40ss@")
        wanted = [Wanted(b"a b", DATA)]
        endpoint = "http://bucket.oss-cn-hangzhou.aliyuncs.com"
        if by_option:
            fetch_all(source(endpoint, proxy=url), wanted)
        else:
            fetch_all(source(endpoint), wanted, environment={"http_proxy": url, "no_proxy": "localhost"})
        (request,) = proxy.requests
    assert wanted[0].right
    assert request.target == "http://bucket.oss-cn-hangzhou.aliyuncs.com/a%20b"
    assert request.headers["host"] == "bucket.oss-cn-hangzhou.aliyuncs.com"
    assert request.headers["proxy-authorization"] == "Basic bWU6cEBzcw=="


def test_https_tunnels_and_checks_the_certificate_of_the_endpoint(tls_certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls_certificate)
    with (
        serving(lambda request: [honest(DATA, "E1", request)], context) as server,
        tunnelling([head("200 Connection established")], server.port) as proxy,
    ):
        wanted = [Wanted(b"a", DATA), Wanted(b"b", DATA)]
        environment = {"SSL_CERT_FILE": f"{tls_certificate}.crt", "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        fetch_all(source(server.url), wanted, connections=1, environment=environment)
        assert [item.failure for item in wanted if not item.right] == []
        assert proxy.heads == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()]
        assert "proxy-authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (head("407 Proxy Authentication Required", "Content-Length: 0"), "user name"),
        (b"garbage\r\n\r\n", "status line"),
    ],
)
def test_a_proxy_that_refuses_is_named(answer: bytes, text: str) -> None:
    with serving(lambda request: []) as server, tunnelling([answer], server.port) as proxy:
        wanted = [Wanted(b"a", DATA)]
        fetch_all(source(server.url.replace("http:", "https:"), proxy=f"http://127.0.0.1:{proxy.port}"), wanted)
        assert server.requests == []
    assert wanted[0].failure is not None
    assert text in str(wanted[0].failure)


def test_a_proxy_that_fails_is_asked_again(tls_certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls_certificate)
    answers = [head("502 Bad Gateway", "Content-Length: 0"), head("200 OK") + b"surplus", b"", head("200 OK")]
    with (
        serving(lambda request: [honest(DATA, "E1", request)], context) as server,
        tunnelling(answers, server.port) as proxy,
    ):
        wanted = [Wanted(b"a", DATA)]
        environment = {"SSL_CERT_FILE": f"{tls_certificate}.crt", "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        fetch_all(source(server.url), wanted, environment=environment)
        assert wanted[0].right
        assert len(proxy.heads) == len(answers)


def test_no_proxy_wins_over_the_variables() -> None:
    with serving(lambda request: [honest(DATA, "E1", request)]) as server:
        wanted = [Wanted(b"a", DATA)]
        fetch_all(source(server.url), wanted, environment={"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.0/8"})
        assert server.requests[0].target == "/bucket/a"
    assert wanted[0].right
    assert not isinstance(wanted[0].failure, Unavailable)
