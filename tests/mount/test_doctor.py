"""`ossmount doctor` against stores that are well, and ill on purpose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ossmount.emulator.faults import Fault
from tests.identity import IdentityServer
from tests.mount.support import BUCKET, Workshop


@pytest.fixture
def clinic(plain_shop: Workshop) -> Workshop:
    plain_shop.server.store.put(BUCKET, b"train/one", b"x" * (3 << 20))
    plain_shop.server.store.put(BUCKET, b"train/two", b"y")
    return plain_shop


def examined(clinic: Workshop, *words: str, code: int = 0, **env: str | None) -> dict[str, dict[str, Any]]:
    """The findings by subject."""
    done = clinic.run("doctor", "--json", f"oss://{BUCKET}/train", *words, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    return {each["subject"]: each for each in json.loads(done.stdout)["findings"]}


def test_a_store_that_is_well(clinic: Workshop) -> None:
    found = examined(clinic, "--cache-dir", str(clinic.folder / "cache"))
    assert {"kernel", "/dev/fuse", "privileges", "memory", "ulimit -n", "fs.fuse"} <= set(found)
    for subject in ("name", "list", "read", "clock", "latency", "bandwidth", "credentials"):
        assert found[subject]["level"] in ("ok", "note"), found[subject]
    assert "test-secret" not in json.dumps(found)
    assert clinic.server.requests.count("GET") == 6, "five for the latency, one for the bandwidth"
    people = clinic.run("doctor", f"oss://{BUCKET}/train")
    assert people.returncode == 0 and people.stdout.endswith("A mount will work.\n") and "\x1b" not in people.stdout


def test_without_a_source_the_machine_alone(clinic: Workshop) -> None:
    done = clinic.run("doctor")
    assert done.returncode == 0 and "kernel" in done.stdout and "latency" not in done.stdout


def test_wrong_keys(clinic: Workshop) -> None:
    found = examined(clinic, code=1, OSS_ACCESS_KEY_SECRET="wrong")
    assert "SignatureDoesNotMatch" in json.dumps(found) and "read" not in found


def test_no_keys(clinic: Workshop) -> None:
    found = examined(clinic, code=1, OSS_ACCESS_KEY_ID=None, OSS_ACCESS_KEY_SECRET=None)
    assert found["credentials"]["level"] == "bad"


def test_keys_that_may_list_and_not_read(clinic: Workshop) -> None:
    clinic.server.faults.add(Fault(operations=("GET",), status=403, code="AccessDenied"))
    found = examined(clinic, code=1)
    assert found["list"]["level"] == "ok" and found["read"]["level"] == "bad"


def test_a_clock_that_is_wrong(clinic: Workshop) -> None:
    clinic.server.accounts.ahead = 600.0
    found = examined(clinic)
    assert found["clock"]["level"] == "note" and "behind" in found["clock"]["text"]


def test_no_such_bucket_prefix_or_host(clinic: Workshop) -> None:
    for source, env in (
        ("oss://nowhere", {}),
        (f"oss://{BUCKET}/nothing", {}),
        (f"oss://{BUCKET}", {"OSSMOUNT_ENDPOINT": "http://no-such-host.invalid"}),
    ):
        done = clinic.run("doctor", source, env=env)
        assert done.returncode == 1 and "->" in done.stdout, done.stdout + done.stderr


def test_a_slow_store(clinic: Workshop) -> None:
    clinic.server.faults.add(Fault(operations=("GET",), latency=0.1))
    assert examined(clinic)["latency"]["level"] == "note"


@pytest.mark.parametrize(
    ("host", "region", "said"),
    [
        ("oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou", "--endpoint oss-cn-hangzhou-internal.aliyuncs.com"),
        ("oss-cn-hangzhou-internal.aliyuncs.com", "cn-beijing", "the bucket is in cn-hangzhou, this machine in cn-beijing"),
    ],
)
def test_an_instance_whose_endpoint_is_not_the_nearest(clinic: Workshop, host: str, region: str, said: str) -> None:
    """A proxy stands for the domains, and a server of the tests for the instance's metadata service."""
    with IdentityServer() as instance:
        instance.region = region
        words = ["--endpoint", f"http://{host}", "--proxy", clinic.server.url, "--ecs-metadata-endpoint", instance.url]
        found = examined(clinic, *words)
    assert said in " ".join(found["endpoint"].values()) and found["endpoint"]["level"] == "note"
    assert found["name"]["text"].startswith("the proxy 127.0.0.1") and found["read"]["level"] == "ok"
