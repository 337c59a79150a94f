"""Each form of endpoint, from the command line to the requests that are made. A proxy stands for the domains."""

from __future__ import annotations

import pytest

from tests.mount.support import BUCKET, Workshop

REGION = "oss-cn-hangzhou.aliyuncs.com"
INTERNAL = "oss-cn-hangzhou-internal.aliyuncs.com"


@pytest.mark.parametrize(
    ("arguments", "host", "signature"),
    [
        (["--endpoint", f"http://{REGION}"], f"{BUCKET}.{REGION}", "OSS test-id:"),
        (["--endpoint", f"http://{INTERNAL}", "--region", "cn-hangzhou"], f"{BUCKET}.{INTERNAL}", "OSS4-HMAC-SHA256 "),
        (["--endpoint", "http://gateway.example.com", "--path-style"], "gateway.example.com", "OSS test-id:"),
        (["-o", "endpoint=http://gateway.example.com:81,path_style,region=oss-cn-beijing"], "gateway.example.com:81", "OSS4"),
    ],
    ids=["region", "internal", "path-style", "mount-options"],
)
@pytest.mark.option("endpoint", "region", "path_style", "proxy")
def test_forms_of_endpoint(plain_shop: Workshop, arguments: list[str], host: str, signature: str) -> None:
    server = plain_shop.server
    server.store.put(BUCKET, b"folder/file", b"hello")
    with plain_shop.mounted(*arguments, "--proxy", server.url, env={"OSSMOUNT_ENDPOINT": None}) as mount:
        assert (mount.path / "folder/file").read_bytes() == b"hello"
    made = list(server.requests)
    assert {entry.kind for entry in made} >= {"LIST", "GET"}
    assert {entry.headers["host"] for entry in made} == {host}
    assert all(entry.headers["authorization"].startswith(signature) for entry in made)
    assert {entry.status for entry in made} == {200}


def test_localhost_with_a_region_is_signed_with_v4(plain_shop: Workshop) -> None:
    server = plain_shop.server
    server.store.put(BUCKET, b"file", b"hello")
    with plain_shop.mounted(env={"OSS_REGION": "cn-hangzhou"}) as mount:
        assert (mount.path / "file").read_bytes() == b"hello"
        assert mount.status()["options"]["region"] == {"value": "cn-hangzhou", "origin": "OSS_REGION"}
    assert all(entry.headers["authorization"].startswith("OSS4-HMAC-SHA256 ") for entry in server.requests)
