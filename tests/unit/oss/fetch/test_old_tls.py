"""A server that speaks nothing newer than TLS 1.1 gets no request and no key, from neither of the two clients."""

from __future__ import annotations

import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from ossmount.errors import OssMountError, Unavailable
from ossmount.oss.buckets import Bucket
from ossmount.oss.credentials.http import Unreachable, ask
from ossmount.oss.credentials.sts import sts_service
from tests.unit.oss.fetch.scripted import Wanted, cancel_after_retries, fetch_all, source

OLD = "DEFAULT@SECLEVEL=0"  # OpenSSL 3 has TLS 1.1 at this level only


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers(OLD)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


class OldServer:
    """What clients have sent after their handshake, and how many handshakes there were."""

    def __init__(self, certificate: str) -> None:
        self.context = old(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self.context.load_cert_chain(certificate)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.tries = 0
        self.done: list[str | None] = []
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.tries += 1
            connection.settimeout(30)
            try:
                with self.context.wrap_socket(connection, server_side=True) as secured:
                    self.done.append(secured.version())
            except OSError:
                connection.close()


@contextmanager
def serving(certificate: str) -> Iterator[OldServer]:
    server = OldServer(certificate)
    server.thread.start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        server.thread.join()


@pytest.fixture
def server(tls_certificate: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OldServer]:
    monkeypatch.setenv("SSL_CERT_FILE", f"{tls_certificate}.crt")  # so that nothing but the version is wrong
    with serving(tls_certificate) as found:
        yield found


def test_the_server_is_one_that_an_old_client_can_use(server: OldServer, tls_certificate: str) -> None:
    """Else the tests below would prove nothing."""
    context = old(ssl.create_default_context(cafile=f"{tls_certificate}.crt"))
    with (
        socket.create_connection(server.listener.getsockname()) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.version() == "TLSv1.1"


def test_the_fetch_processes_refuse_it(server: OldServer, tls_certificate: str) -> None:
    wanted = [Wanted(b"a", b"data")]
    environment = {"SSL_CERT_FILE": f"{tls_certificate}.crt"}
    fetch_all(source(server.url), wanted, environment=environment, during=cancel_after_retries)
    assert isinstance(wanted[0].failure, Unavailable)
    assert server.tries and not server.done


def test_listings_refuse_it(server: OldServer) -> None:
    async def check() -> None:
        bucket = Bucket(source(server.url, timeout=2.0))
        try:
            await bucket.check()
        finally:
            bucket.close()

    with pytest.raises(OssMountError):
        trio.run(check)
    assert server.tries and not server.done


def test_services_that_issue_credentials_refuse_it(server: OldServer) -> None:
    with pytest.raises(Unreachable):
        ask(sts_service(server.url), "POST", "/")
    assert server.tries and not server.done
