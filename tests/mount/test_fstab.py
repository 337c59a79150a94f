"""mount(8), fstab, findmnt and umount(8), as an administrator uses them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.control.registry import process_start
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually

SBIN = Path("/sbin")  # where mount(8) looks, and nowhere else


@pytest.fixture
def kind(plain_shop: Workshop) -> Iterator[str]:
    """A type of file systems that mount(8) knows: of a name that only this test has, since it lies in the machine's /sbin."""
    plain_shop.server.store.put(BUCKET, b"folder/file.txt", b"hello")
    done = plain_shop.run("install-mount-helper", "--directory", str(plain_shop.folder))
    assert done.returncode == 0, done.stderr
    kind = f"ossmount-{plain_shop.folder.name.rpartition('-')[2]}"
    helper = SBIN / f"mount.{kind}"
    shutil.copy(plain_shop.folder / "mount.ossmount", helper)
    try:
        yield kind
    finally:
        helper.unlink()


@pytest.fixture
def config(plain_shop: Workshop) -> Path:
    """Everything that the environment says in other tests: at boot there is none."""
    keys = plain_shop.folder / "keys.json"
    keys.write_text(json.dumps({"AccessKeyId": "test-id", "AccessKeySecret": "test-secret"}))
    keys.chmod(0o600)
    path = plain_shop.folder / "mount.toml"
    path.write_text(
        f'endpoint = "{plain_shop.server.url}"\ncredentials = "{keys}"\nfetch_workers = 1\nmemory_limit = "32M"\n'
        f'metadata_dir = "{plain_shop.folder}/metadata"\n'
    )
    path.chmod(0o644)
    return path


def call(shop: Workshop, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in shop.environment.items() if name in ("PATH", "PYTHONPATH", "OSSMOUNT_STATE_DIR")}
    return subprocess.run(words, env=environ, capture_output=True, text=True, timeout=LIMIT, check=False, cwd="/")


def done(shop: Workshop, *words: str) -> str:
    finished = call(shop, *words)
    assert finished.returncode == 0, f"{words} ended with {finished.returncode}: {finished.stderr}"
    return finished.stdout


@pytest.fixture
def place(plain_shop: Workshop) -> Iterator[Path]:
    path = plain_shop.mountpoint()
    try:
        yield path
    finally:
        plain_shop.take_away(Mount(plain_shop, path), check=False)


@pytest.mark.option("config")
def test_a_configuration_file_says_what_to_mount_and_where(plain_shop: Workshop, config: Path, place: Path) -> None:
    plain_shop.server.store.put(BUCKET, b"folder/file.txt", b"hello")
    with config.open("a") as file:
        file.write(f'source = "oss://{BUCKET}/folder"\nmountpoint = "{place}"\n')
    assert done(plain_shop, *plain_shop.words(["mount", "--config", str(config)])[2:]) == ""
    assert (place / "file.txt").read_bytes() == b"hello"
    assert Mount(plain_shop, place).status()["options"]["config"]["value"] == str(config)


def test_mount_8_and_umount_8(plain_shop: Workshop, kind: str, config: Path, place: Path) -> None:
    written = f"config={config},noauto,x-systemd.automount,_netdev,nofail,uid=7"
    assert done(plain_shop, "mount", "-t", kind, f"{BUCKET}/folder", str(place), "-o", written) == ""
    assert (place / "file.txt").read_bytes() == b"hello"
    assert (place / "file.txt").stat().st_uid == 7
    assert done(plain_shop, "findmnt", "-n", "-o", "SOURCE,FSTYPE", str(place)).split() == [
        f"oss://{BUCKET}/folder",
        "fuse.ossmount",
    ]
    assert "ro" in done(plain_shop, "findmnt", "-n", "-o", "OPTIONS", str(place)).strip().split(",")
    status = Mount(plain_shop, place).status()
    assert status["options"]["uid"] == {"value": "7", "origin": "-o uid"}
    assert status["options"]["fetch_workers"] == {"value": "1", "origin": f"{config}:3"}
    assert done(plain_shop, "umount", str(place)) == ""
    assert os.listdir(place) == []
    eventually(lambda: all(process_start(pid) is None for pid in status["pids"]), "every process of the mount has ended")
    assert plain_shop.run("status", "--json").stdout == "[]\n"


def test_a_line_of_fstab(plain_shop: Workshop, kind: str, config: Path, place: Path) -> None:
    fstab = plain_shop.folder / "fstab"
    of_systemd = "_netdev,nofail,x-systemd.automount,x-systemd.requires=network-online.target"
    written = f"config={config},profile=training,users,exec,relatime,{of_systemd}"
    fstab.write_text(f"oss://{BUCKET}/folder {place} {kind} {written} 0 0\n")
    done(plain_shop, "mount", "-f", "-T", str(fstab), str(place))
    assert os.listdir(place) == []
    done(plain_shop, "mount", "-T", str(fstab), str(place))
    assert (place / "file.txt").read_bytes() == b"hello"
    assert Mount(plain_shop, place).status()["options"]["attr_timeout"] == {"value": "inf", "origin": "profile training"}
    done(plain_shop, "mount", "-a", "-T", str(fstab))  # what is mounted stays
    assert len(done(plain_shop, "findmnt", "-n", "-o", "TARGET", str(place)).splitlines()) == 1
    done(plain_shop, "umount", str(place))
    done(plain_shop, "mount", "-a", "-T", str(fstab))
    assert (place / "file.txt").read_bytes() == b"hello"


def test_what_mount_8_says_of_a_mount_that_fails(plain_shop: Workshop, kind: str, config: Path, place: Path) -> None:
    finished = call(plain_shop, "mount", "-t", kind, f"oss://{BUCKET}/none", str(place), "-o", f"config={config}")
    assert (finished.returncode, "no object below" in finished.stderr) == (32, True), finished.stderr
    finished = call(plain_shop, "mount", "-t", kind, f"oss://{BUCKET}", str(place), "-o", f"config={config},alow_other")
    assert (finished.returncode, "did you mean allow_other?" in finished.stderr) == (1, True), finished.stderr
    assert os.listdir(place) == []
