"""HTTPS with an authority of our own, made with the openssl command."""

from __future__ import annotations

import random
import ssl

import pytest

from ossmount.errors import Unavailable
from tests.unit.oss.fetch.scripted import (
    CLOSE,
    Action,
    Request,
    Wanted,
    cancel_after_retries,
    fetch_all,
    honest,
    serving,
    source,
)

DATA = random.Random(3).randbytes(200_000)


def _server_context(tls_certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls_certificate)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_fetches_over_tls_and_resumes_sessions(tls_certificate: str, version: ssl.TLSVersion) -> None:
    """Every fourth connection is closed after its answer, and a body is cut in the middle."""
    context = _server_context(tls_certificate)
    context.maximum_version = version

    def script(request: Request) -> list[Action]:
        answer = honest(DATA, "E1", request)
        if request.key == b"cut" and not request.nth:
            return [answer[:50_000], CLOSE]
        return [answer, CLOSE] if int(request.key, 36) % 4 == 0 else [answer]

    with serving(script, context) as server:
        wanted = [Wanted(b"%d" % number, DATA, pieces=number % 3 + 1) for number in range(30)]
        wanted += [Wanted(b"cut", DATA), Wanted(b"3range", DATA, start=100, length=70_000)]
        facts = fetch_all(source(server.url), wanted, connections=2, environment={"SSL_CERT_FILE": f"{tls_certificate}.crt"})
        assert [(item.key, item.failure) for item in wanted if not item.right] == []
        assert server.resumed > 0
    assert facts["restarts"] == 0


def test_a_certificate_of_an_unknown_authority_is_refused_at_once(tls_certificate: str) -> None:
    with serving(lambda request: [honest(DATA, "E1", request)], _server_context(tls_certificate)) as server:
        wanted = [Wanted(b"a", DATA)]
        fetch_all(source(server.url), wanted)
        assert server.requests == []
    assert isinstance(wanted[0].failure, Unavailable)
    assert "certificate" in str(wanted[0].failure)


def test_a_certificate_for_another_host_is_refused(tls_certificate: str) -> None:
    with serving(lambda request: [honest(DATA, "E1", request)], _server_context(tls_certificate)) as server:
        wanted = [Wanted(b"a", DATA)]
        url = server.url.replace("127.0.0.1", "localhost")
        fetch_all(source(url), wanted, environment={"SSL_CERT_FILE": f"{tls_certificate}.crt"})
        assert server.requests == []
    assert "certificate" in str(wanted[0].failure)


def test_a_server_without_tls_is_an_error_not_a_hang() -> None:
    with serving(lambda request: [honest(DATA, "E1", request)]) as server:
        wanted = [Wanted(b"a", DATA)]
        fetch_all(source(server.url.replace("http:", "https:")), wanted, during=cancel_after_retries)
        assert server.requests == []
    assert isinstance(wanted[0].failure, Unavailable)
