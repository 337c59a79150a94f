"""rclone against the server, through its S3 backend with Alibaba as the provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Protocol

import pytest

from ossmount.emulator.faults import Fault
from ossmount.emulator.server import EmulatedServer


class Rclone(Protocol):
    def __call__(self, *arguments: str) -> str: ...


@pytest.fixture
def rclone(server: EmulatedServer, tmp_path: Path) -> Rclone:
    """Runs rclone with "oss:" as the server; its standard output, or an error with what it wrote on stderr."""
    settings = {
        "type": "s3",
        "provider": "Alibaba",
        "endpoint": server.url,
        "access_key_id": "test-id",
        "secret_access_key": "test-secret",
        "force_path_style": "true",
        "upload_cutoff": "5Mi",
        "chunk_size": "5Mi",
    }
    environment = {f"RCLONE_CONFIG_OSS_{name.upper()}": value for name, value in settings.items()}
    environment |= {"RCLONE_CONFIG": "", "RCLONE_RETRIES": "1", "RCLONE_LOW_LEVEL_RETRIES": "1", "HOME": str(tmp_path)}
    command = Path(sys.executable).parent / "rclone"

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(command), *arguments], env=os.environ | environment, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for name, data in {
        "a": b"hello",
        "empty": b"",
        "folder/with space/ü+%&=.txt": b"x" * 1000,
        "folder/日本語": b"y",
        "large": bytes(range(256)) * (48 << 10),  # 12 MiB: three parts
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    return source


def test_copy_and_check_both_ways(rclone: Rclone, tree: Path, tmp_path: Path, server: EmulatedServer) -> None:
    rclone("copy", str(tree), "oss:bucket/tree")
    rclone("check", str(tree), "oss:bucket/tree")
    rclone("check", "--download", str(tree), "oss:bucket/tree")
    assert server.requests.count("UploadPart") == 3 and server.requests.count("PutObject") == 4
    large = server.store.find("bucket", b"tree/large")
    assert large is not None and large.object_type == "Multipart" and large.etag.endswith("-3")
    rclone("copy", "oss:bucket/tree", str(tmp_path / "back"))
    for path in tree.rglob("*"):
        copied = tmp_path / "back" / path.relative_to(tree)
        if path.is_file():
            assert copied.read_bytes() == path.read_bytes()
            assert copied.stat().st_mtime == pytest.approx(path.stat().st_mtime, abs=1e-6)
    server.requests.clear()
    rclone("copy", str(tree), "oss:bucket/tree")  # nothing to do
    assert server.requests.count("PUT") == 0


def test_buckets_and_listings(rclone: Rclone, tree: Path) -> None:
    rclone("mkdir", "oss:another")
    assert rclone("lsf", "oss:").splitlines() == ["another/", "bucket/"]
    rclone("copy", str(tree), "oss:another")
    assert sorted(rclone("lsf", "oss:another").splitlines()) == ["a", "empty", "folder/", "large"]
    names = rclone("lsf", "-R", "--files-only", "oss:another").splitlines()
    assert sorted(names) == sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())
    assert rclone("size", "--json", "oss:another/folder") == '{"count":2,"bytes":1001,"sizeless":0}\n'
    rclone("purge", "oss:another")
    assert rclone("lsf", "oss:").splitlines() == ["bucket/"]


def test_single_objects(rclone: Rclone, tree: Path, server: EmulatedServer) -> None:
    rclone("copyto", str(tree / "a"), "oss:bucket/one")
    assert rclone("cat", "--offset", "1", "--count", "3", "oss:bucket/one") == "ell"
    rclone("copyto", "oss:bucket/one", "oss:bucket/two")  # a copy inside the server
    rclone("moveto", "oss:bucket/two", "oss:bucket/three ü")
    assert server.store.keys("bucket") == [b"one", "three ü".encode()]
    assert server.requests.count("CopyObject") == 2
    rclone("deletefile", "oss:bucket/one")
    assert server.store.get("bucket", "three ü".encode()) == b"hello"
    assert server.store.keys("bucket") == ["three ü".encode()]


def test_sync_of_what_changed(rclone: Rclone, tree: Path, server: EmulatedServer) -> None:
    rclone("sync", str(tree), "oss:bucket")
    (tree / "a").write_bytes(b"changed")
    (tree / "empty").unlink()
    rclone("sync", str(tree), "oss:bucket")
    rclone("check", str(tree), "oss:bucket")
    assert server.store.get("bucket", b"a") == b"changed" and server.store.find("bucket", b"empty") is None


def test_the_older_listing(rclone: Rclone, server: EmulatedServer) -> None:
    keys = [b"a", b"b/%02d" % 1, b"b/%02d" % 2, "ü".encode()]
    server.store.put_many("bucket", keys, b"data")
    names = rclone("lsf", "-R", "--files-only", "--s3-list-version", "1", "--s3-list-chunk", "2", "oss:bucket")
    assert sorted(names.encode().splitlines()) == sorted(keys)
    assert server.requests.count("ListObjects") > 1 and server.requests.count("ListObjectsV2") == 0


def test_a_large_copy_inside_the_server(rclone: Rclone, tree: Path, server: EmulatedServer) -> None:
    rclone("copyto", str(tree / "large"), "oss:bucket/large")
    rclone("copyto", "--s3-copy-cutoff", "5Mi", "oss:bucket/large", "oss:bucket/copy")
    assert server.requests.count("UploadPartCopy") == 3
    assert server.store.get("bucket", b"copy") == (tree / "large").read_bytes()


def test_unfinished_uploads_are_shown_and_cleaned_up(rclone: Rclone, tree: Path, server: EmulatedServer) -> None:
    server.faults.add(Fault(operations=("CompleteMultipartUpload",), code="AccessDenied"))
    with pytest.raises(AssertionError, match="AccessDenied"):
        rclone("copyto", "--s3-leave-parts-on-error", str(tree / "large"), "oss:bucket/large")
    server.faults.clear()
    uploads = json.loads(rclone("backend", "list-multipart-uploads", "oss:bucket"))["bucket"]
    assert [upload["Key"] for upload in uploads] == ["large"]
    rclone("backend", "cleanup", "-o", "max-age=0s", "oss:bucket")
    assert server.requests.count("AbortMultipartUpload") == 1
    assert list(server.store.writable("bucket").folder.glob("data/*/*")) == []


def test_a_presigned_link(rclone: Rclone, server: EmulatedServer) -> None:
    server.store.put("bucket", "folder/ü +".encode(), b"data")
    link = rclone("link", "--expire", "1m", "oss:bucket/folder/ü +").strip()
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == b"data"
    with pytest.raises(urllib.error.HTTPError) as failure:
        urllib.request.urlopen(link.replace("folder", "other"))
    with failure.value as refusal:
        assert refusal.code == 403 and b"SignatureDoesNotMatch" in refusal.read()
