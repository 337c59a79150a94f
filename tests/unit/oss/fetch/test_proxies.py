from __future__ import annotations

import pytest

from ossmount.oss.endpoint import parse_endpoint
from ossmount.oss.fetch.proxies import proxy_of

HTTPS = parse_endpoint("https://oss-cn-hangzhou.aliyuncs.com", "bucket")
HTTP = parse_endpoint("http://10.1.2.3:9000", "bucket")


def test_the_option_comes_first() -> None:
    environment = {"https_proxy": "http://other:1", "no_proxy": "*"}
    assert proxy_of(HTTPS, "proxy.example:3128", environment) == ("proxy.example", 3128, "")
    assert proxy_of(HTTPS, "http://u:p@proxy.example", environment) == ("proxy.example", 80, "Basic dTpw")
    assert proxy_of(HTTPS, "http://[::1]:3128/", {}) == ("::1", 3128, "")


def test_variables_by_scheme() -> None:
    environment = {"http_proxy": "http://a:1", "HTTPS_PROXY": "b:2", "ALL_PROXY": "http://c:3"}
    assert proxy_of(HTTP, "", environment) == ("a", 1, "")
    assert proxy_of(HTTPS, "", environment) == ("b", 2, "")
    assert proxy_of(HTTPS, "", {"ALL_PROXY": "http://c:3"}) == ("c", 3, "")
    assert proxy_of(HTTP, "", {"HTTP_PROXY": "http://a:1"}) == ("a", 1, "")
    assert proxy_of(HTTP, "", {"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}) is None
    assert proxy_of(HTTPS, "", {"https_proxy": ""}) is None


@pytest.mark.parametrize(
    "no_proxy",
    ["*", "aliyuncs.com", ".aliyuncs.com", "x, *.ALIYUNCS.com", "a bucket.oss-cn-hangzhou.aliyuncs.com", "aliyuncs.com:443"],
)
def test_excluded_names(no_proxy: str) -> None:
    assert proxy_of(HTTPS, "", {"https_proxy": "http://a:1", "no_proxy": no_proxy}) is None


@pytest.mark.parametrize("no_proxy", ["", "yuncs.com", "aliyuncs.com:80", "cn-hangzhou.aliyuncs.com", "10.0.0.0/8", ",", "."])
def test_names_that_are_not_excluded(no_proxy: str) -> None:
    assert proxy_of(HTTPS, "", {"https_proxy": "http://a:1", "no_proxy": no_proxy}) == ("a", 1, "")


@pytest.mark.parametrize(
    ("no_proxy", "excluded"), [("10.0.0.0/8", True), ("10.1.2.3", True), ("10.1.2.3:9000", True), ("11.0.0.0/8", False)]
)
def test_excluded_addresses(no_proxy: str, excluded: bool) -> None:
    assert (proxy_of(HTTP, "", {"http_proxy": "a:1", "NO_PROXY": no_proxy}) is None) is excluded


@pytest.mark.parametrize("url", ["socks5://a:1", "https://a:1", "http://", "http://a:99999", "http://a:1/path", "http://[::1"])
def test_unusable_proxies_are_named_without_their_password(url: str) -> None:
    with pytest.raises(ValueError, match="https_proxy: no usable proxy") as raised:
        proxy_of(HTTPS, "", {"https_proxy": url.replace("//", "//user:hidden@")})
    assert "hidden" not in str(raised.value)
