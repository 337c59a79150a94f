"""Which proxy the data plane goes through: --proxy, else the variables that every HTTP client knows. Pure."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from ossmount.oss.endpoint import Endpoint


def proxy_of(endpoint: Endpoint, configured: str, environment: Mapping[str, str]) -> tuple[str, int, str] | None:
    """Host, port and Proxy-Authorization value ("" for none) of the proxy; None to connect directly.

    An explicit proxy is used whatever no_proxy says. http_proxy is read in lower case only where REQUEST_METHOD is set
    (a CGI script's HTTP_PROXY comes from its client). Raises ValueError, with a message for the user.
    """
    if configured:
        return _parsed(configured, "--proxy")
    if _excluded(endpoint, environment.get("no_proxy") or environment.get("NO_PROXY") or ""):
        return None
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY") if endpoint.tls else _http_names(environment):
        if environment.get(name):
            return _parsed(environment[name], name)
    return None


def _http_names(environment: Mapping[str, str]) -> tuple[str, ...]:
    upper = () if "REQUEST_METHOD" in environment else ("HTTP_PROXY",)
    return ("http_proxy", *upper, "all_proxy", "ALL_PROXY")


def _parsed(url: str, name: str) -> tuple[str, int, str]:
    text = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "http" or not host or parts.path not in ("", "/") or not host.isascii():
        # the URL itself may hold a password: it is not shown
        raise ValueError(f"{name}: no usable proxy: write http://[USER:PASSWORD@]HOST:PORT (plain HTTP proxies only)")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return host, port or 80, authorization


def _excluded(endpoint: Endpoint, no_proxy: str) -> bool:
    """no_proxy as curl and requests read it: suffixes of host names, addresses, networks, "*", each perhaps with a port."""
    host = endpoint.host.lower()
    for entry in no_proxy.replace(",", " ").lower().split():
        if entry == "*":
            return True
        name, colon, port = entry.rpartition(":")
        if colon and port.isdigit() and ":" not in name:
            if int(port) != endpoint.port:
                continue
            entry = name
        name = entry.lstrip("*").lstrip(".")
        if name and (host == name or host.endswith(f".{name}") or _in_network(host, entry)):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False
