"""Where a bucket is reached: from what the user wrote to host, port, TLS, Host header and request paths. Pure.

Four forms of endpoint exist (OSS documentation, "Access OSS by using bucket domain names"):

- a domain of the service (`oss-cn-hangzhou.aliyuncs.com`, also `-internal`): the bucket becomes the first label;
- the bucket's own domain (`BUCKET.oss-cn-hangzhou.aliyuncs.com`): taken as it is;
- a custom domain that is bound to the bucket (CNAME): taken as it is;
- an IP address, `localhost` or a name without a dot: the bucket becomes the first component of the path.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, quote_from_bytes, urlsplit

from ossmount.config import SourceConfig

_SERVICE_DOMAINS = (".aliyuncs.com", ".aliyun-inc.com")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_PATH_SAFE_BUCKET = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OTHER_BUCKET = re.compile(r"([a-z0-9-]+)\.(oss-(?!data-acc|accesspoint)[a-z0-9-]+\.aliyuncs\.com)")
_EXAMPLES = "for example oss-cn-hangzhou.aliyuncs.com, oss-cn-hangzhou-internal.aliyuncs.com or http://127.0.0.1:9000"


class Endpoint(NamedTuple):
    """One bucket's address."""

    host: str  # to resolve and connect to, also the name that its certificate is checked against; IPv6 without brackets
    port: int
    tls: bool
    host_header: str  # with the port unless it is the scheme's own
    base: str  # path in front of every key: "/" or "/BUCKET/"

    @property
    def origin(self) -> str:
        """Scheme and authority, without a trailing slash."""
        return f"{'https' if self.tls else 'http'}://{self.host_header}"

    def path(self, key: bytes = b"", query: Mapping[str, str] | None = None) -> str:
        """The request target for a key (b"": the bucket itself), percent-encoded, with the query in the order given."""
        target = self.base + quote_key(key)
        if query:
            target += "?" + encode_query(query)
        return target


def quote_name(key: bytes) -> str:
    """A key as one path component, "/" as %2F: for clients that tidy up paths (requests, which also undoes %2E)."""
    return quote_key(key) if key in (b".", b"..") else quote_from_bytes(key, safe="")


def quote_key(key: bytes) -> str:
    """A key as it stands in a request path: "/" stays, the components "." and ".." are written %2E so that no client,
    proxy or server takes them for steps in a tree.
    """
    quoted = quote_from_bytes(key, safe="/")
    if "." in quoted and any(part in (".", "..") for part in quoted.split("/")):
        return "/".join(part.replace(".", "%2E") if part in (".", "..") else part for part in quoted.split("/"))
    return quoted


def encode_query(query: Mapping[str, str]) -> str:
    """name=value pairs, percent-encoded; a parameter with an empty value is its name alone, as OSS writes subresources."""
    return "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" if value else quote(name, safe="") for name, value in query.items()
    )


def region_name(region: str) -> str:
    """The region as signatures name it: `oss-cn-hangzhou` and `cn-hangzhou` are both written by users."""
    return region.strip().removeprefix("oss-")


def endpoint_of(source: SourceConfig) -> Endpoint:
    """The address of the source's bucket; without an endpoint, the public one of its region."""
    text = source.endpoint.strip()
    if not text and source.region:
        text = f"https://oss-{region_name(source.region)}.aliyuncs.com"
    return parse_endpoint(text, source.bucket, path_style=source.path_style)


def parse_endpoint(text: str, bucket: str, *, path_style: bool = False) -> Endpoint:
    """Raises ValueError, with a message for the user, for what is no endpoint or no bucket name."""
    host, port, tls = _authority(text)
    address = _is_address(host)
    if path_style or address or "." not in host:
        if not _PATH_SAFE_BUCKET.fullmatch(bucket):
            raise ValueError(_bad_bucket(bucket))
        return Endpoint(host, port, tls, _host_header(host, port, tls), f"/{bucket}/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(_bad_bucket(bucket))
    if host.endswith(_SERVICE_DOMAINS) and not host.startswith(f"{bucket}."):
        other = _OTHER_BUCKET.fullmatch(host)
        if other:
            raise ValueError(
                f"--endpoint {text!r} is the domain of bucket {other[1]!r}, but bucket {bucket!r} is asked for: "
                f"write --endpoint {other[2]}"
            )
        host = f"{bucket}.{host}"
    return Endpoint(host, port, tls, _host_header(host, port, tls), "/")


def _authority(text: str) -> tuple[str, int, bool]:
    """Host in lower case without brackets, port, TLS."""
    text = text.strip()
    if not text:
        raise ValueError(f"no endpoint: give --endpoint ({_EXAMPLES}) or --region")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "https", text
    if scheme.lower() not in ("http", "https"):
        raise ValueError(f"--endpoint {text!r}: unknown scheme {scheme!r}, write https:// or http://")
    tls = scheme.lower() == "https"
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"--endpoint {text!r}: {error}; {_EXAMPLES}") from None
    if "@" in parts.netloc:
        raise ValueError("--endpoint must not contain a user name or password: credentials come from the environment or a file")
    if parts.path not in ("", "/") or "?" in rest or "#" in rest:
        raise ValueError(
            f"--endpoint {text!r} has more than a host and a port: the bucket and prefix belong to oss://BUCKET/PREFIX"
        )
    if port == 0:
        raise ValueError(f"--endpoint {text!r}: port 0 cannot be connected to")
    if parts.netloc.rstrip().endswith(":"):
        raise ValueError(f"--endpoint {text!r}: the port after ':' is missing")
    if not _is_address(host) and (not _HOST.fullmatch(host) or ".." in host):
        raise ValueError(f"--endpoint {text!r}: {host!r} is no host name; {_EXAMPLES}")
    return host, port or (443 if tls else 80), tls


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host_header(host: str, port: int, tls: bool) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == (443 if tls else 80) else f"{name}:{port}"


def _bad_bucket(bucket: str) -> str:
    return (
        f"{bucket!r} is no bucket name: 3 to 63 lower-case letters, digits and hyphens, "
        "with a letter or digit at both ends, as in oss://my-bucket/prefix"
    )
