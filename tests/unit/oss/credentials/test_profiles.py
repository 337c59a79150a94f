from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from ossmount.config import Credentials
from ossmount.oss.credentials.interface import CredentialsError, NotConfigured
from ossmount.oss.credentials.metadata_service import EcsProvider
from ossmount.oss.credentials.profiles import OssutilProvider, ProfileProvider
from ossmount.oss.credentials.sts import sts_service
from tests.identity import ARN, ISSUER, OIDC_TOKEN, ROLE, IdentityServer

AK = {"name": "ak", "mode": "AK", "access_key_id": "LTAI5tBase", "access_key_secret": "base-secret", "sts_token": ""}
STS = {"name": "sts", "mode": "StsToken", "access_key_id": "STS.a", "access_key_secret": "b", "sts_token": "c"}
ROLE_ARN = {**AK, "name": "role", "mode": "RamRoleArn", "ram_role_arn": ARN, "ram_session_name": "me", "expired_seconds": 900}
CHAIN = {"name": "chain", "mode": "ChainableRamRoleArn", "source_profile": "ak", "ram_role_arn": ARN}
LOOP = {"name": "loop", "mode": "ChainableRamRoleArn", "source_profile": "loop", "ram_role_arn": ARN}
ECS = {"name": "ecs", "mode": "EcsRamRole", "ram_role_name": ROLE}
OAUTH = {"name": "oauth", "mode": "OAuth", "oauth_site_type": "CN"}
PAIR = {"name": "pair", "mode": "RsaKeyPair", "key_pair_name": "mine", "private_key": "/nowhere"}
EMPTY = {"name": "default", "mode": "AK", "access_key_id": "", "access_key_secret": ""}


def no_sdk(**_: object) -> NoReturn:
    raise NotConfigured("the SDK is not installed")


def provider(folder: Path, identity: IdentityServer, profile: str = "", current: str = "ak") -> ProfileProvider:
    path = folder / "config.json"
    printed = json.dumps({"mode": "AK", "access_key_id": "external", "access_key_secret": "s"})
    program = f"{sys.executable} -I -S {folder / 'program.py'}"
    external = {"name": "external", "mode": "External", "process_command": program}
    (folder / "program.py").write_text(f"print({printed!r})")
    (folder / "token").write_text(OIDC_TOKEN)
    oidc = {
        "name": "oidc",
        "mode": "OIDC",
        "ram_role_arn": ARN,
        "oidc_provider_arn": ISSUER,
        "oidc_token_file": f"{folder}/token",
    }
    profiles = [AK, STS, ROLE_ARN, CHAIN, LOOP, ECS, OAUTH, PAIR, EMPTY, external, oidc]
    path.write_text(json.dumps({"current": current, "profiles": profiles}))
    return ProfileProvider(
        path, profile, lambda role: EcsProvider(identity.url, role, {}), lambda region: sts_service(identity.url), no_sdk
    )


def test_keys_in_the_file(tmp_path: Path, identity: IdentityServer) -> None:
    found = provider(tmp_path, identity)
    assert found.obtain().credentials == Credentials("LTAI5tBase", "base-secret")
    assert found.name == f"profile (ak of {tmp_path}/config.json)" and found.watched
    assert provider(tmp_path, identity, "sts").obtain().credentials == Credentials("STS.a", "b", "c")
    assert provider(tmp_path, identity, current="sts").obtain().credentials == Credentials("STS.a", "b", "c")
    assert provider(tmp_path, identity, "external").obtain().credentials == Credentials("external", "s")


@pytest.mark.parametrize("profile", ["role", "chain", "ecs", "oidc"])
def test_roles(tmp_path: Path, identity: IdentityServer, profile: str) -> None:
    issued = provider(tmp_path, identity, profile).obtain()
    assert issued.expires == identity.issued[-1].expires
    assert issued.credentials.security_token == identity.issued[-1].security_token
    if profile == "role":
        assert identity.asked[-1].parameters["RoleSessionName"] == "me"
        assert identity.asked[-1].parameters["DurationSeconds"] == "900"


@pytest.mark.parametrize(
    ("profile", "kind", "message"),
    [
        ("none", CredentialsError, r"has no profile 'none'; it has ak, chain, default"),
        ("loop", CredentialsError, r"'loop' .* source_profile leads from one to the next without end"),
        ("oauth", NotConfigured, "the SDK is not installed"),
        ("pair", NotConfigured, r"has the mode RsaKeyPair, of which ossmount has no use"),
        ("default", NotConfigured, r"'default' .* holds no access key"),
    ],
)
def test_profiles_that_give_none(
    tmp_path: Path, identity: IdentityServer, profile: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(CredentialsError, match=message) as caught:
        provider(tmp_path, identity, profile).obtain()
    assert type(caught.value) is kind


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"profiles": [{}]}', '{"profiles": 1}', '{"profiles": [1]}'])
def test_what_aliyun_has_not_written(tmp_path: Path, identity: IdentityServer, text: str) -> None:
    found = provider(tmp_path, identity)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CredentialsError, match="is not as `aliyun configure` writes it"):
        found.obtain()


@pytest.mark.parametrize(
    ("text", "credentials"),
    [
        ("[Credentials]\nlanguage=EN\nendpoint=e\naccessKeyID=a\naccessKeySecret=b\n", Credentials("a", "b")),
        ("[Credentials]\naccessKeyID = a\naccessKeySecret = b%20\nstsToken = c\n", Credentials("a", "b%20", "c")),
        ("# ossutil 2\n[default]\naccess-key-id=a\naccess_key_secret=b\nregion=cn-hangzhou\n", Credentials("a", "b")),
        (
            "[other]\naccessKeyID=x\n[profile default]\naccesskeyid=a\naccesskeysecret=b\n",
            Credentials("a", "b"),
        ),
    ],
)
def test_ossutil(tmp_path: Path, text: str, credentials: Credentials) -> None:
    path = tmp_path / ".ossutilconfig"
    path.write_text(text)
    assert OssutilProvider(path).obtain().credentials == credentials


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accessKeyID=s3cret\n", "is no INI file"),
        ("[default]\nregion=cn-hangzhou\n", "holds no access key"),
        ("[default]\naccessKeyID=a\n", "has no access_key_secret"),
    ],
)
def test_ossutil_without_keys(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / ".ossutilconfig"
    path.write_text(text)
    with pytest.raises(CredentialsError, match=message) as caught:
        OssutilProvider(path).obtain()
    assert "s3cret" not in str(caught.value)
