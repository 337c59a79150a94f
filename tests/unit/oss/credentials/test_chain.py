from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ossmount.config import Credentials, CredentialsConfig
from ossmount.oss.credentials import chain as chains
from ossmount.oss.credentials.chain import chain, sts_origin
from ossmount.oss.credentials.interface import CredentialsError, Issued
from tests.identity import ARN, ISSUER, OIDC_TOKEN, ROLE, IdentityServer

OSS = {"OSS_ACCESS_KEY_ID": "oss", "OSS_ACCESS_KEY_SECRET": "s3cret\n", "OSS_SECURITY_TOKEN": "token"}
ALIBABA = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "alibaba", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "s3cret"}


@pytest.fixture(autouse=True)
def no_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chains, "DEFAULT_FILE", tmp_path / "mnt" / "credentials")


@pytest.fixture
def config(tmp_path: Path, identity: IdentityServer) -> CredentialsConfig:
    """Nothing is set up: a home without files, an instance without a role."""
    identity.role = ""
    environ = {"HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.1"}
    return CredentialsConfig(sts_endpoint=identity.url, metadata_endpoint=identity.url, environ=environ)


def with_variables(config: CredentialsConfig, variables: dict[str, str]) -> CredentialsConfig:
    return config._replace(environ={**config.environ, **variables})


def with_oidc(config: CredentialsConfig, folder: Path, **variables: str) -> CredentialsConfig:
    (folder / "token").write_text(OIDC_TOKEN)
    given = {
        "ALIBABA_CLOUD_ROLE_ARN": ARN,
        "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": ISSUER,
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE": str(folder / "token"),
    }
    return with_variables(config, {**given, **variables})


def write_profiles(home: Path, *profiles: dict[str, object], current: str = "default") -> Path:
    path = home / ".aliyun" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"current": current, "profiles": profiles, "meta_path": ""}))
    return path


def keys_file(path: Path, identity: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"AccessKeyId": identity, "AccessKeySecret": "s3cret", "Expiration": ""}))
    return path


def id_of(config: CredentialsConfig) -> str:
    return chain(config).obtain().credentials.access_key_id


def test_environment(config: CredentialsConfig) -> None:
    found = chain(with_variables(config, {**OSS, **ALIBABA}))
    assert found.renewable
    assert found.obtain() == Issued(Credentials("oss", "s3cret", "token"))
    assert (found.name, found.renewable, found.watched) == ("env (OSS_ACCESS_KEY_ID)", False, False)
    assert id_of(with_variables(config, ALIBABA)) == "alibaba"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"OSS_ACCESS_KEY_ID": "id"}, "OSS_ACCESS_KEY_ID is set but OSS_ACCESS_KEY_SECRET is not"),
        ({"OSS_ACCESS_KEY_SECRET": "s3cret", **ALIBABA}, "OSS_ACCESS_KEY_SECRET is set but OSS_ACCESS_KEY_ID is not"),
        ({"OSS_SECURITY_TOKEN": "s3cret"}, "OSS_SECURITY_TOKEN is set but OSS_ACCESS_KEY_ID is not"),
        ({"OSS_ACCESS_KEY_ID": "id", "OSS_ACCESS_KEY_SECRET": "s3cret\r\nx: y"}, "OSS_ACCESS_KEY_SECRET contains"),
        ({"ALIBABA_CLOUD_ACCESS_KEY_ID": "id"}, "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not"),
    ],
)
def test_an_environment_that_is_set_up_wrongly_is_not_passed_over(
    config: CredentialsConfig, given: dict[str, str], message: str
) -> None:
    with pytest.raises(CredentialsError, match=message) as caught:
        chain(with_variables(config, given)).obtain()
    assert "s3cret" not in str(caught.value)


def test_the_order(config: CredentialsConfig, tmp_path: Path, identity: IdentityServer) -> None:
    """Each source is taken before those that were set up earlier here."""
    identity.role = ROLE
    assert chain(config).obtain().credentials.access_key_id == identity.issued[-1].access_key_id
    (tmp_path / ".ossutilconfig").write_text("[Credentials]\nlanguage=EN\naccessKeyID=ossutil\naccessKeySecret=s3cret\n")
    assert id_of(config) == "ossutil"
    write_profiles(tmp_path, {"name": "default", "mode": "AK", "access_key_id": "cli", "access_key_secret": "s3cret"})
    assert id_of(config) == "cli"
    keys_file(chains.DEFAULT_FILE, "file")
    assert id_of(config) == "file"
    config = with_oidc(config, tmp_path)
    assert id_of(config) == identity.issued[-1].access_key_id != "file"
    config = with_variables(config, OSS)
    assert id_of(config) == "oss"
    assert id_of(config._replace(file=keys_file(tmp_path / "keys.json", "given"))) == "given"
    program = (sys.executable, "-I", "-S", "-c", 'print(\'{"AccessKeyId": "printed", "AccessKeySecret": "s3cret"}\')')
    assert id_of(config._replace(process=program)) == "printed"
    assert id_of(config._replace(profile="default")) == "cli"
    assert chain(config._replace(ram_role_name=ROLE)).obtain().credentials.security_token.startswith("token-")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("env", "env (OSS_ACCESS_KEY_ID)"),
        ("file", "file ("),
        ("profile", "profile (default of "),
        ("ossutil", "ossutil ("),
        ("ecs", f"ecs (role {ROLE})"),
        ("oidc", f"oidc ({ARN})"),
    ],
)
def test_one_source_only(config: CredentialsConfig, tmp_path: Path, identity: IdentityServer, source: str, name: str) -> None:
    identity.role = ROLE
    (tmp_path / ".ossutilconfig").write_text("[default]\naccess-key-id=ossutil\naccess_key_secret=s3cret\n")
    write_profiles(tmp_path, {"name": "default", "mode": "AK", "access_key_id": "cli", "access_key_secret": "s3cret"})
    keys_file(chains.DEFAULT_FILE, "file")
    found = chain(with_variables(with_oidc(config, tmp_path), OSS)._replace(source=source))
    found.obtain()
    assert found.name.startswith(name)


def test_when_there_are_none_the_message_says_what_was_tried_and_why_not(config: CredentialsConfig, tmp_path: Path) -> None:
    with pytest.raises(CredentialsError) as caught:
        chain(config).obtain()
    first, *tried = str(caught.value).split("\n")
    assert "give --credentials FILE" in first and "--anonymous" in first
    assert tried == [
        "  env: OSS_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_ID are not set",
        "  oidc: not set: ALIBABA_CLOUD_ROLE_ARN, ALIBABA_CLOUD_OIDC_PROVIDER_ARN, ALIBABA_CLOUD_OIDC_TOKEN_FILE",
        f"  file: {tmp_path}/mnt/credentials does not exist",
        f"  profile: {tmp_path}/.aliyun/config.json does not exist",
        f"  ossutil: {tmp_path}/.ossutilconfig does not exist",
        "  sdk: ALIBABA_CLOUD_CREDENTIALS_URI and ALIBABA_CLOUD_CREDENTIALS_FILE are not set, "
        f"{tmp_path}/.alibabacloud/credentials.ini does not exist",
        "  ecs: a RAM role is not attached to this ECS instance (HTTP 404)",
    ]
    with pytest.raises(CredentialsError, match="no credentials from ecs: ALIBABA_CLOUD_ECS_METADATA_DISABLED is set"):
        chain(with_variables(config, {"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"})._replace(source="ecs")).obtain()
    with pytest.raises(CredentialsError, match="no credentials from process: --credential-process was not given"):
        chain(config._replace(source="process")).obtain()


def test_what_was_found_stays_the_only_source(config: CredentialsConfig, tmp_path: Path) -> None:
    path = keys_file(chains.DEFAULT_FILE, "file")
    found = chain(config)
    found.obtain()
    assert found.watched
    path.unlink()
    write_profiles(tmp_path, {"name": "default", "mode": "AK", "access_key_id": "cli", "access_key_secret": "s3cret"})
    assert found.changed()
    with pytest.raises(CredentialsError, match="cannot be read"):
        found.obtain()


def test_the_search_goes_on_where_nothing_was_found(config: CredentialsConfig) -> None:
    found = chain(config)
    with pytest.raises(CredentialsError):
        found.obtain()
    assert (found.name, found.renewable, found.watched, found.changed()) == ("none yet", True, False, False)
    keys_file(chains.DEFAULT_FILE, "late")
    assert found.obtain().credentials.access_key_id == "late"


def test_a_role_on_top(config: CredentialsConfig, tmp_path: Path, identity: IdentityServer) -> None:
    identity.keys["oss"] = "s3cret"
    given = {"OSS_ACCESS_KEY_ID": "oss", "OSS_ACCESS_KEY_SECRET": "s3cret"}
    found = chain(with_variables(config, given)._replace(ram_role_arn=ARN, role_session_name="me"))
    assert found.obtain().credentials.access_key_id == identity.issued[-1].access_key_id
    assert found.name == f"assume-role ({ARN}) with env (OSS_ACCESS_KEY_ID)" and found.renewable
    assert identity.asked[-1].parameters["RoleSessionName"] == "me"
    with_token = with_oidc(config, tmp_path, ALIBABA_CLOUD_ROLE_ARN="acs:ram::1:role/other")._replace(ram_role_arn=ARN)
    assert chain(with_token).obtain().credentials.access_key_id == identity.issued[-1].access_key_id
    assert len(identity.issued) == 2 and identity.asked[-1].parameters["Action"] == "AssumeRoleWithOIDC"


def test_sts_through_a_proxy(config: CredentialsConfig, tmp_path: Path, identity: IdentityServer) -> None:
    """The proxy is asked for a whole URL; the fake service stands in for one."""
    proxied = with_oidc(config, tmp_path)._replace(
        sts_endpoint="http://sts.example.com", proxy=f"http://me:pw@{identity.url[7:]}"
    )
    assert chain(proxied._replace(source="oidc")).obtain().credentials.access_key_id
    assert identity.asked[-1].headers["host"] == "sts.example.com"
    assert identity.asked[-1].headers["proxy-authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("endpoint", "region", "origin"),
    [
        ("oss-cn-hangzhou.aliyuncs.com", "", "https://sts.cn-hangzhou.aliyuncs.com"),
        ("https://oss-cn-hangzhou-internal.aliyuncs.com/", "", "https://sts-vpc.cn-hangzhou.aliyuncs.com"),
        ("bucket.oss-ap-southeast-1-internal.aliyuncs.com", "", "https://sts-vpc.ap-southeast-1.aliyuncs.com"),
        ("oss-accelerate.aliyuncs.com", "", "https://sts.aliyuncs.com"),
        ("data.example.com", "oss-cn-beijing", "https://sts.cn-beijing.aliyuncs.com"),
        ("http://127.0.0.1:9000", "", "https://sts.aliyuncs.com"),
    ],
)
def test_where_sts_is(endpoint: str, region: str, origin: str) -> None:
    assert sts_origin(endpoint, region) == origin
