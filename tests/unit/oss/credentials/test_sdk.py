"""Alibaba Cloud's own SDK, the real one, in its process: against services on loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from ossmount.config import Credentials, CredentialsConfig
from ossmount.daemon.processes import descendants
from ossmount.oss.credentials.chain import Chain, chain
from ossmount.oss.credentials.interface import CredentialsError, Issued
from ossmount.oss.credentials.sdk import SdkProvider
from tests.identity import ROLE, SSO_TOKEN, IdentityServer

KEYS = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI5tEnvironment", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "8bUkGq2wEXAMPLEp0Vd7rX1yZ2aB3c"}
URI = "ALIBABA_CLOUD_CREDENTIALS_URI"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """No ECS instance: the SDK would ask at an address of its own."""
    return {"HOME": str(tmp_path), "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}


def address(identity: IdentityServer) -> str:
    identity.plain = True  # no token of the hardening mode is needed
    return f"{identity.url}/latest/meta-data/ram/security-credentials/{ROLE}"


def last(identity: IdentityServer) -> Issued:
    made = identity.issued[-1]
    return Issued(Credentials(made.access_key_id, made.access_key_secret, made.security_token), made.expires)


def sso(identity: IdentityServer, token: str = SSO_TOKEN) -> dict[str, object]:
    return {
        "name": "sso",
        "mode": "CloudSSO",
        "cloud_sso_sign_in_url": identity.url,
        "cloud_sso_account_id": "1234567890123456",
        "cloud_sso_access_config": "ac-trainer",
        "access_token": token,
        "cloud_sso_access_token_expire": int(time.time()) + 3600,
    }


def profiles(environ: dict[str, str], *each: dict[str, object]) -> Path:
    path = Path(environ["HOME"]) / ".aliyun" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"current": each[0]["name"], "profiles": each}))
    return path


def found(environ: dict[str, str], source: str = "auto", profile: str = "") -> Chain:
    return chain(CredentialsConfig(environ=environ, source=source, profile=profile))


def test_the_default_chain_when_it_is_named(environ: dict[str, str]) -> None:
    sdk = found({**environ, **KEYS}, "sdk")
    assert sdk.obtain() == Issued(Credentials(*KEYS.values()))
    assert sdk.name == "sdk (default/env)" and sdk.renewable and not sdk.watched


def test_an_address_is_asked_by_itself_and_what_it_gives_expires(environ: dict[str, str], identity: IdentityServer) -> None:
    """The SDK's chain drops the end of what it passes on."""
    sdk = found({**environ, URI: address(identity)})
    assert sdk.obtain() == last(identity)
    assert sdk.name == "sdk (default/credential_uri)"


def test_profiles_of_modes_that_are_the_sdks(environ: dict[str, str], identity: IdentityServer) -> None:
    uri: dict[str, object] = {"name": "uri", "mode": "CredentialsURI", "credentials_uri": address(identity)}
    path = profiles(environ, sso(identity), uri)
    current = found(environ)
    assert current.obtain() == last(identity)
    assert current.name == f"profile (sso of {path})" and current.watched
    assert json.loads(identity.asked[-1].body) == {"AccountId": "1234567890123456", "AccessConfigurationId": "ac-trainer"}
    assert found(environ, profile="uri").obtain() == last(identity)
    named = found(environ, "sdk", "sso")
    assert named.obtain() == last(identity)
    assert named.name == "sdk (cli_profile/cloud_sso)"


def test_what_the_sdk_is_refused_is_said_without_secrets(environ: dict[str, str], identity: IdentityServer) -> None:
    wrong = SSO_TOKEN.replace("sso", "xyz")[::-1]
    profiles(environ, sso(identity, wrong))
    with pytest.raises(CredentialsError, match=r"profile: Alibaba Cloud's SDK ended with status 1: .*http_code: 403") as caught:
        found(environ).obtain()
    assert wrong[:20] not in str(caught.value) and "Traceback" not in str(caught.value)


def test_a_chain_without_credentials_says_whom_it_has_asked(environ: dict[str, str]) -> None:
    with pytest.raises(CredentialsError, match=r"unable to load credentials .*Environment Variable: .*CLIProfile: "):
        found(environ, "sdk").obtain()


def test_its_process_has_no_secret_among_its_arguments_and_dumps_no_core(environ: dict[str, str]) -> None:
    shown: list[bytes] = []
    limits: list[str] = []

    def look() -> None:
        connection, _ = listener.accept()
        with connection:
            found = [Path(f"/proc/{pid}") for pid in descendants(os.getpid())]
            shown.extend((path / "cmdline").read_bytes() for path in found)
            limits.extend((path / "limits").read_text() for path in found if b"sdk_process" in (path / "cmdline").read_bytes())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(100)
        looking = threading.Thread(target=look)
        looking.start()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}/?token=s3cret-of-the-address"
        with pytest.raises(CredentialsError, match="ended with status 1"):  # it has no answer
            SdkProvider({**environ, **KEYS}, uri=uri, limit=100.0).obtain()
        looking.join()
    assert [words for words in shown if b"sdk_process" in words]
    assert not [words for words in shown if b"s3cret" in words or b"8bUkGq2w" in words]
    assert re.search(r"^Max core file size +0 +0 ", limits[0], re.MULTILINE)  # children.shield: no dump, no debugger


def test_one_that_hangs_is_ended(environ: dict[str, str]) -> None:
    before = set(descendants(os.getpid()))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # never answers
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(CredentialsError, match="Alibaba Cloud's SDK did not end within 2 s"):
            SdkProvider(environ, uri=uri, limit=2.0).obtain()
    assert set(descendants(os.getpid())) <= before


def test_without_the_sdk_the_command_that_installs_it_is_named(
    environ: dict[str, str], identity: IdentityServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    profiles(environ, sso(identity))
    for source in ("auto", "profile", "sdk"):
        with pytest.raises(CredentialsError, match=r"-m pip install 'alibabacloud-credentials >= "):
            found(environ, source).obtain()
