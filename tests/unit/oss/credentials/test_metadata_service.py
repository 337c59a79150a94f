from __future__ import annotations

import socket

import pytest

from ossmount.oss.credentials.interface import CredentialsError, NotConfigured, Temporary
from ossmount.oss.credentials.metadata_service import EcsProvider, region_of
from tests.identity import ROLE, IdentityServer


@pytest.mark.parametrize("role", ["", ROLE])
def test_the_role_of_the_instance(identity: IdentityServer, role: str) -> None:
    provider = EcsProvider(identity.url, role, {})
    issued = provider.obtain()
    (made,) = identity.issued
    assert issued.credentials.security_token == made.security_token and issued.expires == made.expires
    assert provider.name == f"ecs (role {ROLE})"
    token, *asked = identity.asked
    assert (token.method, token.path) == ("PUT", "/latest/api/token")
    assert all(each.headers["x-aliyun-ecs-metadata-token"] == "metadata-token-0" for each in asked)
    assert len(asked) == (1 if role else 2)


def test_a_service_that_knows_no_hardening_mode(identity: IdentityServer) -> None:
    identity.plain = True
    assert EcsProvider(identity.url, "", {}).obtain().credentials.access_key_id
    with pytest.raises(CredentialsError, match="no token for the hardening mode: HTTP 404"):
        EcsProvider(identity.url, "", {"ALIBABA_CLOUD_IMDSV1_DISABLED": "true"}).obtain()


def test_an_instance_without_a_role(identity: IdentityServer) -> None:
    identity.role = ""
    with pytest.raises(NotConfigured, match="not attached to this ECS instance"):
        EcsProvider(identity.url, "", {}).obtain()
    with pytest.raises(NotConfigured, match="the RAM role other is not attached"):
        EcsProvider(identity.url, "other", {}).obtain()


def test_a_service_that_is_down(identity: IdentityServer) -> None:
    provider = EcsProvider(identity.url, ROLE, {})
    identity.status = 503
    with pytest.raises(Temporary, match="HTTP 503"):
        provider.obtain()
    identity.status, identity.silent = 0, True
    with pytest.raises(Temporary, match="cannot be used"):
        provider.obtain()
    identity.silent = False
    assert provider.obtain().credentials.access_key_id


def test_the_region_of_the_instance(identity: IdentityServer) -> None:
    assert region_of(identity.url, {}) == "cn-hangzhou"
    assert region_of(identity.url, {"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}) == ""
    identity.plain = True
    assert region_of(identity.url, {}) == "cn-hangzhou"
    for answer in ("<html>", "", "cn hangzhou"):
        identity.region = answer
        assert region_of(identity.url, {}) == ""
    identity.status = 503
    assert region_of(identity.url, {}) == ""


def test_no_ecs_instance_at_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(NotConfigured, match=r"the ECS metadata service at .* cannot be used: Connection refused"):
        EcsProvider(url, "", {}, certain=False).obtain()
    with pytest.raises(Temporary, match="Connection refused"):
        EcsProvider(url, "", {}).obtain()
    assert region_of(url, {}) == ""


@pytest.mark.parametrize("role", ["../secrets", "a b", "x\r\ny"])
def test_what_is_no_role(role: str) -> None:
    with pytest.raises(CredentialsError, match="is no name of a RAM role"):
        EcsProvider("http://127.0.0.1:1", role, {})
