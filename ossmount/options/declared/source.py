"""Where the data lies: the endpoint, and what of the bucket."""

from __future__ import annotations

from pathlib import Path

from ossmount.options import units
from ossmount.options.declared.option import SOURCE, Option

ENDPOINT: Option[str] = Option(
    "endpoint",
    SOURCE,
    units.TEXT,
    "",
    "Endpoint of the bucket: a region endpoint (oss-cn-hangzhou.aliyuncs.com, or its -internal form inside the region), a "
    "custom domain, an IP address or localhost with a port. https unless http:// is written.",
    computed="oss-REGION.aliyuncs.com when a region is given",
    variables=("OSS_ENDPOINT",),
)

REGION: Option[str] = Option(
    "region",
    SOURCE,
    units.TEXT,
    "",
    "Region of the bucket, such as cn-hangzhou. With a region requests are signed with V4, without one with V1.",
    computed="none",
    variables=("OSS_REGION",),
)

PATH_STYLE: Option[bool] = Option(
    "path_style",
    SOURCE,
    units.BOOLEAN,
    False,
    "Put the bucket into the path of the URL instead of the host name. Chosen by itself for IP addresses and localhost.",
)

PROXY: Option[str] = Option(
    "proxy",
    SOURCE,
    units.PROXY,
    "",
    "HTTP proxy for all requests to OSS.",
    computed="the variables http_proxy, https_proxy and no_proxy",
)

TIMEOUT: Option[float] = Option(
    "timeout", SOURCE, units.POSITIVE_SECONDS, 60.0, "How long one read may take, retries included, before it fails."
)

CONNECT_TIMEOUT: Option[float] = Option(
    "connect_timeout", SOURCE, units.POSITIVE_SECONDS, 5.0, "How long connecting to the endpoint may take."
)

MANIFEST: Option[Path | None] = Option(
    "manifest",
    SOURCE,
    units.PATH,
    None,
    "A list of keys; the mount shows these and nothing else. One for each line: KEY, oss://BUCKET/KEY, or a record with the "
    "field source, uri, url, key, object_key or path; or a CSV file with such a column. A list that names several buckets "
    "is shown with a folder for each of them.",
    computed="everything below the source",
)
