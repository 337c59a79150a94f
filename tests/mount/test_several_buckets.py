"""Mounts of a list that names objects of several buckets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ossmount.channel.mounting import find_mount
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, Workshop, eventually

OTHERS = ("data-x", "images")
LISTED = [f"oss://{bucket}.oss-cn-x.aliyuncs.com/{key}" for bucket in OTHERS for key in ("a", "dir/b", "dir/large")]


@pytest.fixture
def listed(shop: Workshop) -> Path:
    """A list of keys of three buckets, that of the mount without its name; the same keys in each, with other bytes."""
    for bucket in (BUCKET, *OTHERS):
        if bucket != BUCKET:
            shop.server.store.create_bucket(bucket)
        for key in ("a", "dir/b", "dir/not listed"):
            shop.server.store.put(bucket, key.encode(), f"{bucket}:{key}".encode())
        shop.server.store.put(bucket, b"dir/large", bucket.encode() * 500_000)
        shop.server.store.put_symlink(bucket, b"link", b"dir/b")
    path = shop.folder / "list"
    path.write_text("\n".join(["a", "dir/b", "oss://images/link", "oss://images/missing", *LISTED]))
    return path


def files(path: Path) -> dict[str, bytes]:
    found = {
        os.path.relpath(os.path.join(folder, name), path): Path(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
    }
    return {name: file.read_bytes() for name, file in found.items()}


def expected() -> dict[str, bytes]:
    wanted = {f"{bucket}/{key}": f"{bucket}:{key}".encode() for bucket in (BUCKET, *OTHERS) for key in ("a", "dir/b")}
    return {**wanted, **{f"{bucket}/dir/large": bucket.encode() * 500_000 for bucket in OTHERS}, "images/link": b"images:dir/b"}


def test_each_bucket_is_a_folder(shop: Workshop, listed: Path) -> None:
    with shop.mounted("--manifest", str(listed)) as mount:
        assert sorted(os.listdir(mount.path)) == [BUCKET, *OTHERS]
        assert files(mount.path) == expected()
        assert os.readlink(mount.path / "images/link") == "dir/b"
        assert not (mount.path / "images/dir/not listed").exists()
        assert not (mount.path / "elsewhere").exists()
        assert int(os.getxattr(mount.path / "images/a", "user.oss.crc64")) == shop.server.store.find("images", b"a").crc64  # type: ignore[union-attr]
        status = mount.status()
        assert status["counters"]["get"] >= 8
        assert len(status["fetch_pids"]) == 3
    with shop.mounted("--manifest", str(listed)) as mount:  # the store is there already
        assert files(mount.path) == expected()


def test_a_version_of_one_bucket_is_never_that_of_another(shop: Workshop, listed: Path) -> None:
    """The same keys, and where the contents are the same also the same ETags."""
    cache = ("--cache-dir", str(shop.folder / "cache"), "-o", "attr_timeout=0,entry_timeout=0")
    with shop.mounted("--manifest", str(listed), *cache) as mount:
        assert files(mount.path) == expected()
        shop.server.store.put("images", b"a", b"another")
        eventually(lambda: (mount.path / "images/a").read_bytes() == b"another", "the new version is read")
        assert (mount.path / "data-x/a").read_bytes() == b"data-x:a"
    shop.server.requests.clear()
    with shop.mounted("--manifest", str(listed), *cache) as mount:
        assert files(mount.path) == {**expected(), "images/a": b"another"}
    with shop.mounted(*cache, source="oss://images", name="alone") as mount:
        assert files(mount.path)["dir/not listed"] == b"images:dir/not listed"


@pytest.mark.parametrize(
    ("lines", "arguments", "code", "said"),
    [
        (["oss://absent/a"], (), ExitCode.NO_BUCKET, "absent"),
        (["oss://images/a"], ("--endpoint", "http://files.example.com"), ExitCode.UNREACHABLE, "leads to one bucket only"),
        (["oss://images.oss-cn-y.aliyuncs.com/a"], ("--region", "cn-x"), ExitCode.BAD_SNAPSHOT, "lies at oss-cn-y"),
    ],
)
def test_what_cannot_be_mounted_is_said(
    shop: Workshop, listed: Path, lines: list[str], arguments: tuple[str, ...], code: ExitCode, said: str
) -> None:
    listed.write_text("\n".join(["a", *lines]))
    env = {"OSSMOUNT_ENDPOINT": None} if "--region" in arguments else {}
    done = shop.run("mount", f"oss://{BUCKET}", str(shop.mountpoint()), "--manifest", str(listed), *arguments, env=env)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
    assert find_mount(str(shop.mountpoint())) is None
