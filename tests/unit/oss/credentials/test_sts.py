from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from aliyunsdkcore.auth.composer.rpc_signature_composer import get_signed_url

from ossmount.config import Credentials
from ossmount.oss.credentials.http import Unreachable
from ossmount.oss.credentials.interface import CredentialsError, Fixed, Temporary
from ossmount.oss.credentials.sts import AssumeRoleProvider, OidcProvider, Role, signature, sts_service
from tests.identity import ARN, ISSUER, OIDC_TOKEN, IdentityServer

BASE = Fixed("env", Credentials("LTAI5tBase", "base-secret"))


def test_signature_against_the_sdk() -> None:
    form = {"RoleArn": ARN, "RoleSessionName": "a b*~/é", "Policy": '{"Version": "1"}'}
    url, _ = get_signed_url({"Action": "AssumeRole", "Version": "2015-04-01"}, "an-id", "s3cret", "JSON", "POST", form)
    query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    expected = query.pop("Signature")
    assert signature("POST", query | form, Credentials("an-id", "s3cret")) == expected


def test_a_role_is_assumed(identity: IdentityServer) -> None:
    provider = AssumeRoleProvider(BASE, Role(ARN, "job-7", 900, "outside"), sts_service(identity.url))
    issued = provider.obtain()
    (made,) = identity.issued
    assert issued.credentials == Credentials(made.access_key_id, made.access_key_secret, made.security_token)
    assert issued.expires == made.expires
    (asked,) = identity.asked
    assert asked.parameters["RoleSessionName"] == "job-7"
    assert asked.parameters["DurationSeconds"] == "900" and asked.parameters["ExternalId"] == "outside"
    assert "RoleArn" not in asked.query and "base-secret" not in str(asked)
    assert provider.name == f"assume-role ({ARN}) with env"


def test_a_role_is_assumed_with_temporary_credentials(identity: IdentityServer) -> None:
    first = AssumeRoleProvider(BASE, Role(ARN), sts_service(identity.url))
    AssumeRoleProvider(first, Role(ARN), sts_service(identity.url)).obtain()
    assert len(identity.issued) == 2
    assert identity.asked[-1].parameters["SecurityToken"] == identity.issued[0].security_token
    assert identity.asked[-1].parameters["RoleSessionName"].startswith("ossmount-")


def test_oidc(identity: IdentityServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    provider = OidcProvider(Role(ARN), ISSUER, token, sts_service(identity.url))
    with pytest.raises(CredentialsError, match="cannot be read: No such file"):
        provider.obtain()
    token.write_text("")
    with pytest.raises(CredentialsError, match="is empty"):
        provider.obtain()
    token.write_bytes(b"\xff\xfe")
    with pytest.raises(CredentialsError, match="holds no OIDC token"):
        provider.obtain()
    token.write_text("another")
    with pytest.raises(CredentialsError, match=r"STS refuses the role .* 400 AuthenticationFail.*OIDCToken") as caught:
        provider.obtain()
    assert not isinstance(caught.value, Temporary)
    token.write_text(OIDC_TOKEN + "\n")  # Kubernetes rewrites it
    assert provider.obtain().credentials.access_key_id == identity.issued[-1].access_key_id
    assert all("OIDCToken" not in asked.query and "Signature" not in asked.parameters for asked in identity.asked)


def test_what_sts_refuses(identity: IdentityServer) -> None:
    wrong = Fixed("env", Credentials("LTAI5tBase", "wrong-secret"))
    with pytest.raises(CredentialsError, match=r"400 SignatureDoesNotMatch \(server string to sign is: \*\*\*\)"):
        AssumeRoleProvider(wrong, Role(ARN), sts_service(identity.url)).obtain()
    with pytest.raises(CredentialsError, match=r"404 EntityNotExist\.Role"):
        AssumeRoleProvider(BASE, Role(ARN + "-2"), sts_service(identity.url)).obtain()
    with pytest.raises(CredentialsError, match="without an access key"):
        AssumeRoleProvider(Fixed("anonymous", Credentials()), Role(ARN), sts_service(identity.url)).obtain()


def test_what_may_be_better_a_moment_later(identity: IdentityServer) -> None:
    provider = AssumeRoleProvider(BASE, Role(ARN), sts_service(identity.url))
    identity.status = 503
    with pytest.raises(Temporary, match="503 without JSON"):
        provider.obtain()
    identity.status, identity.silent = 0, True
    with pytest.raises(Unreachable, match=r"STS at http://127\.0\.0\.1:\d+ cannot be used"):
        provider.obtain()


@pytest.mark.parametrize("role", [Role("trainer"), Role(ARN, "a name"), Role(ARN, "x")])
def test_what_is_no_role(role: Role) -> None:
    with pytest.raises(CredentialsError, match=r"is no (role|session name)"):
        AssumeRoleProvider(BASE, role, sts_service("http://127.0.0.1:1"))
