"""What is said of an endpoint, by where the machine stands."""

from __future__ import annotations

import pytest

from ossmount.doctor.finding import Level
from ossmount.doctor.store import place
from ossmount.oss.endpoint import parse_endpoint

INTERNAL, PUBLIC = "oss-cn-hangzhou-internal.aliyuncs.com", "oss-cn-hangzhou.aliyuncs.com"


@pytest.mark.parametrize(
    ("endpoint", "here", "level", "said"),
    [
        (INTERNAL, "cn-hangzhou", Level.OK, "in the region of this machine"),
        (INTERNAL, "", Level.OK, "TLS"),
        (INTERNAL, "cn-beijing", Level.NOTE, "the bucket is in cn-hangzhou, this machine in cn-beijing"),
        (f"data.{PUBLIC}", "cn-beijing", Level.NOTE, "the bucket is in cn-hangzhou, this machine in cn-beijing"),
        (PUBLIC, "cn-hangzhou", Level.NOTE, "--endpoint oss-cn-hangzhou-internal.aliyuncs.com"),
        (PUBLIC, "", Level.NOTE, "over the public internet"),
        ("oss-accelerate.aliyuncs.com", "cn-hangzhou", Level.OK, "TLS"),
        ("images.example.com", "cn-hangzhou", Level.OK, "TLS"),
        ("http://127.0.0.1:9000", "cn-hangzhou", Level.NOTE, "plain HTTP"),
        (f"http://{INTERNAL}", "cn-hangzhou", Level.NOTE, "plain HTTP"),
    ],
)
def test_endpoints(endpoint: str, here: str, level: Level, said: str) -> None:
    found = place(parse_endpoint(endpoint, "data"), here)
    assert found.level is level and said in f"{found.text} -> {found.remedy}"
