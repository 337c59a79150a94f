"""Short HTTP requests to the services that issue credentials: no kept connections, no redirects, every wait bounded."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ossmount.oss.credentials.documents import MAX_DOCUMENT
from ossmount.oss.credentials.interface import Temporary

#: Host, port and Proxy-Authorization ("" for none).
Proxy = tuple[str, int, str]


class Service(NamedTuple):
    """Where a service answers. connect and read: seconds."""

    name: str  # in messages
    origin: str  # http[s]://HOST[:PORT]
    connect: float
    read: float
    proxy: Proxy | None = None


class Reply(NamedTuple):
    """An answer of any status."""

    status: int
    body: bytes


class Unreachable(Temporary):
    """Nothing that speaks HTTP answers there."""


def ask(
    service: Service, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Reply:
    """Makes one request. Raises Unreachable."""
    try:
        connection, target, extra = _connection(service, target)
        try:
            connection.connect()
            connection.sock.settimeout(service.read)
            connection.request(method, target, body, {**(headers or {}), **extra})
            response = connection.getresponse()
            return Reply(response.status, response.read(MAX_DOCUMENT + 1))
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{service.name} at {service.origin} cannot be used: {_reason(error)}") from None


def _connection(service: Service, target: str) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """What leads to the service, the target as it is to be asked there, and headers for the proxy."""
    parts = urlsplit(service.origin)
    assert parts.hostname is not None
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    host, first_port = (parts.hostname, port) if service.proxy is None else service.proxy[:2]
    extra = {"Proxy-Authorization": service.proxy[2]} if service.proxy is not None and service.proxy[2] else {}
    if not tls:
        connection = http.client.HTTPConnection(host, first_port, timeout=service.connect)
        return connection, target if service.proxy is None else service.origin + target, extra
    from ossmount.oss.trust import client_context  # the authorities take 50 ms to load

    secure = http.client.HTTPSConnection(host, first_port, timeout=service.connect, context=client_context())
    if service.proxy is not None:
        secure.set_tunnel(parts.hostname, port, extra)
    return secure, target, {}


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error) or type(error).__name__
