"""Mounts whose credentials end every few seconds, or whose source is away for a while."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ossmount.cli.status import look_at
from ossmount.control.registry import Registry
from ossmount.exit_codes import ExitCode
from tests.identity import ARN, ISSUER, OIDC_TOKEN, ROLE, IdentityServer
from tests.mount.support import BUCKET, Mount, Workshop, eventually, workshop

FILES = 8
SIZE = 6 << 20  # all files together are more than the memory that the mounts here have: they are fetched again and again
CONTENTS = [number.to_bytes(4, "big") * (SIZE // 4) for number in range(FILES)]
WITHOUT = {"OSS_ACCESS_KEY_ID": None, "OSS_ACCESS_KEY_SECRET": None}


@pytest.fixture
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        made.environment["HOME"] = str(made.folder)  # whose tools may have profiles
        for number in range(FILES):
            made.server.store.put(BUCKET, b"%d" % number, CONTENTS[number])
        yield made


@pytest.fixture
def identity(shop: Workshop) -> Iterator[IdentityServer]:
    with IdentityServer(shop.server.accounts, seconds=3600) as running:
        yield running


def read(mount: Mount, number: int) -> None:
    assert (mount.path / str(number)).read_bytes() == CONTENTS[number]


def ecs(identity: IdentityServer) -> list[str]:
    return ["--credentials-from", "ecs", "--ram-role-name", ROLE, "--ecs-metadata-endpoint", identity.url]


def state_of(mount: Mount) -> dict[str, Any]:
    """What `ossmount status` shows, without a process for it."""
    registry = Registry(mount.workshop.folder / "state")
    record = registry.find(str(mount.path))
    return (None if record is None else look_at(registry, record)) or {"state": "gone"}


def facts(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = state_of(mount)["facts"]["credentials"]
    return found


@pytest.mark.parametrize("source", ["oidc", "assume-role", "process", "profile", "sdk"])
@pytest.mark.option(
    "credential_process", "credentials_profile", "ram_role_arn", "role_session_name", "sts_endpoint", "ecs_metadata_endpoint"
)
def test_each_source(shop: Workshop, identity: IdentityServer, source: str) -> None:
    (shop.folder / "token").write_text(OIDC_TOKEN)
    made = identity.issue()
    shop.folder.joinpath("program.py").write_text(f"print({json.dumps(made.document())!r})")
    (shop.folder / ".aliyun").mkdir()
    profiles = [{"name": "node", "mode": "EcsRamRole", "ram_role_name": ROLE}]
    (shop.folder / ".aliyun/config.json").write_text(json.dumps({"current": "other", "profiles": profiles}))
    sts = ["--sts-endpoint", identity.url]
    arguments = {
        "oidc": sts,
        "assume-role": [*sts, "--ram-role-arn", ARN, "--role-session-name", "job-7"],
        "profile": ["--credentials-profile", "node", "--ecs-metadata-endpoint", identity.url],
        "sdk": [],
        "process": ["--credential-process", f"{sys.executable} -I -S {shop.folder}/program.py"],
    }[source]
    base = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI5tBase", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "base-secret"}
    oidc = {
        "ALIBABA_CLOUD_ROLE_ARN": ARN,
        "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": ISSUER,
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE": str(shop.folder / "token"),
    }
    identity.plain = source == "sdk"  # what answers at an address needs no token of the hardening mode
    address = f"{identity.url}/latest/meta-data/ram/security-credentials/{ROLE}"
    sdk = {"ALIBABA_CLOUD_CREDENTIALS_URI": address}
    sdk |= {"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true", "ALIBABA_CLOUD_CLI_PROFILE_DISABLED": "true"}
    variables = {"assume-role": base, "oidc": oidc, "sdk": sdk}.get(source, {})
    with shop.mounted(*arguments, env={**WITHOUT, **variables}) as mount:
        read(mount, 1)
        found = facts(mount)
        assert found["provider"].startswith(source)
        text = shop.run("status", str(mount.path)).stdout
        assert f"keys      from {source}" in text and "valid for 59 min" in text
        sessions = {asked.parameters["RoleSessionName"] for asked in identity.asked if asked.method == "POST"}
        assert (sessions == {"job-7"}) == (source == "assume-role")
        shown = text + mount.log + "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in mount.status()["pids"])
        for issued in identity.issued:
            assert issued.access_key_secret not in shown and issued.security_token not in shown
        assert "base-secret" not in shown and OIDC_TOKEN not in shown


@pytest.mark.option("credentials_from")
def test_the_named_place_goes_before_others_that_have_credentials(shop: Workshop, identity: IdentityServer) -> None:
    with shop.mounted("--credentials-from", "ecs", "--ecs-metadata-endpoint", identity.url) as mount:
        read(mount, 1)
        assert facts(mount)["provider"] == f"ecs (role {ROLE})"


@pytest.mark.option("ram_role_name")
def test_the_named_source_and_role_go_before_what_is_found(shop: Workshop, identity: IdentityServer) -> None:
    """The environment has good keys as well, and the metadata service would tell the role's name."""
    with shop.mounted(*ecs(identity)) as mount:
        read(mount, 1)
        assert facts(mount)["provider"] == f"ecs (role {ROLE})"
    assert {asked.path.rpartition("/")[2] for asked in identity.asked} == {"token", ROLE}


@pytest.mark.option("anonymous")
def test_anonymous_requests_are_not_signed(shop: Workshop) -> None:
    shop.server.accounts.anonymous = True
    with shop.mounted("--anonymous", env=WITHOUT) as mount:
        read(mount, 1)
    assert not any("authorization" in entry.headers for entry in shop.server.requests)


def run_on(shop: Workshop, identity: IdentityServer, mount: Mount, seconds: float) -> None:
    """Lists, looks up and reads without an error, until so many seconds and at least three renewals are over."""
    began, number = time.monotonic(), 0
    while time.monotonic() - began < seconds or len(identity.issued) < 4:
        assert time.monotonic() - began < seconds + 60, "they are not renewed"
        read(mount, number % FILES)
        os.stat(mount.path / str(number * 7 % FILES))
        number += 1


def test_tokens_of_a_few_seconds(shop: Workshop, identity: IdentityServer) -> None:
    identity.seconds = 3
    options = ["--direct-io", "-o", "attr_timeout=0,entry_timeout=0"]
    with shop.mounted(*ecs(identity), *options, env=WITHOUT) as mount:
        run_on(shop, identity, mount, 0.0)
        assert facts(mount)["failing"] is False


@pytest.mark.stress
@pytest.mark.parametrize("source", ["ecs", "assume-role"])
def test_tokens_of_a_few_seconds_for_minutes(shop: Workshop, identity: IdentityServer, source: str) -> None:
    """With the service away now and then, and sometimes for longer than a token lives."""
    identity.seconds = 4
    identity.keys["test-id"] = "test-secret"
    role = ["--sts-endpoint", identity.url, "--ram-role-arn", ARN]
    arguments, env = (ecs(identity), WITHOUT) if source == "ecs" else (role, {})
    options = ["--direct-io", "-o", "attr_timeout=0,entry_timeout=0"]
    over = threading.Event()

    def disturb() -> None:
        for pause in range(1000):
            if over.wait(5.0):
                return
            identity.status = 503 if pause % 2 else 0
            identity.silent = not pause % 2
            if over.wait(7.0 if pause % 4 == 3 else 1.0):
                return
            identity.status, identity.silent = 0, False

    with shop.mounted(*arguments, *options, env=env) as mount:
        disturber = threading.Thread(target=disturb)
        disturber.start()
        try:
            run_on(shop, identity, mount, 100.0)
        finally:
            over.set()
            disturber.join()
        assert len(identity.issued) > 20


@pytest.mark.stress
def test_the_source_is_away_for_longer_than_a_token_lives(shop: Workshop, identity: IdentityServer) -> None:
    identity.seconds = 3
    with shop.mounted(*ecs(identity), env=WITHOUT) as mount:
        os.listdir(mount.path)
        identity.status = 503
        eventually(lambda: time.time() > identity.issued[-1].expires, "the token has expired")
        failures: list[BaseException] = []

        def reader() -> None:
            try:
                read(mount, 1)
            except BaseException as failure:
                failures.append(failure)

        waiting = threading.Thread(target=reader)
        waiting.start()
        try:
            eventually(lambda: shop.server.requests.count("GET"), "the reader's request was refused")
            text = shop.run("status", str(mount.path)).stdout
            assert "expired" in text and "cannot be renewed" in text and "HTTP 503" in text, text
        finally:
            identity.seconds, identity.status = 3600, 0
            waiting.join()
        assert failures == []
        assert mount.log.count("were not renewed") in (1, 2), mount.log


def write_keys(path: Path, identity: str, secret: str) -> None:
    path.with_suffix(".new").write_text(json.dumps({"AccessKeyId": identity, "AccessKeySecret": secret, "Expiration": ""}))
    path.with_suffix(".new").replace(path)


@pytest.mark.stress
def test_a_file_that_is_replaced_while_the_old_key_is_revoked(shop: Workshop) -> None:
    keys = shop.folder / "keys.json"
    write_keys(keys, "test-id", "test-secret")
    with shop.mounted("--credentials", str(keys), env=WITHOUT) as mount:
        read(mount, 1)
        for number in range(2, 5):
            shop.server.accounts.add(f"id-{number}", "other-secret")
            write_keys(keys, f"id-{number}", "other-secret")
            shop.server.accounts.remove("test-id" if number == 2 else f"id-{number - 1}")
            read(mount, number)
        keys.rename(shop.folder / "away.json")
        eventually(lambda: facts(mount)["failing"], "it is noticed")
        assert "No such file" in facts(mount)["last_error"]
        read(mount, 6)
        (shop.folder / "away.json").rename(keys)
        eventually(lambda: not facts(mount)["failing"], "it is noticed")


def test_a_daemon_that_follows_one_that_died_goes_on_without_the_source(shop: Workshop, identity: IdentityServer) -> None:
    with shop.mounted(*ecs(identity), env=WITHOUT) as mount:
        os.listdir(mount.path)
        read(mount, 1)
        before = mount.status()["daemon_pid"]
        identity.silent = True
        os.kill(before, signal.SIGKILL)
        eventually(lambda: (now := state_of(mount))["state"] == "serving" and now["daemon_pid"] != before, "another daemon")
        assert facts(mount)["failing"] is True
        assert sorted(map(int, os.listdir(mount.path))) == list(range(FILES))
        reader = threading.Thread(target=read, args=(mount, 2))
        reader.start()
        eventually(lambda: facts(mount)["failures"] > 1, "it tries on")
        identity.silent = False
        reader.join()
        assert facts(mount)["failing"] is False and facts(mount)["provider"] == f"ecs (role {ROLE})"


def test_no_credentials_at_all(shop: Workshop, identity: IdentityServer) -> None:
    identity.role = ""
    mountpoint = shop.mountpoint()
    done = shop.run("mount", f"oss://{BUCKET}", str(mountpoint), "--ecs-metadata-endpoint", identity.url, env=WITHOUT)
    assert done.returncode == ExitCode.REFUSED
    for source in ("env", "oidc", "file", "profile", "ossutil", "sdk", "ecs"):
        assert f"\n  {source}: " in done.stderr
    asked, identity.status = len(identity.asked), 503
    done = shop.run("mount", f"oss://{BUCKET}", str(mountpoint), *ecs(identity), env=WITHOUT)
    assert done.returncode == ExitCode.REFUSED and "HTTP 503" in done.stderr
    assert len(identity.asked) == asked + 3  # with two more attempts
