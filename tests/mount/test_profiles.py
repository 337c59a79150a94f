"""What each profile promises, with real mounts and a bucket that changes below them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.options.declarations import BY_NAME
from ossmount.options.profiles import PROFILES
from tests.mount.support import BUCKET, Mount, Workshop, eventually


@pytest.fixture
def filled(plain_shop: Workshop) -> Workshop:
    for name in (b"folder/one", b"folder/two"):
        plain_shop.server.store.put(BUCKET, name, b"old")
    return plain_shop


def look(mount: Mount) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((mount.path / "folder").iterdir())}


def change(shop: Workshop) -> None:
    """One object is replaced, one removed, one is new."""
    shop.server.store.put(BUCKET, b"folder/one", b"newer")
    shop.server.store.delete(BUCKET, b"folder/two")
    shop.server.store.put(BUCKET, b"folder/three", b"3")


CHANGED = {"one": b"newer", "three": b"3"}


@contextlib.contextmanager
def mounted(shop: Workshop, profile: str, *more: str) -> Iterator[Mount]:
    """A mount that has what its profile sets."""
    with shop.mounted("--profile", profile, *more) as mount:
        options = mount.status()["options"]
        for key, text in PROFILES[profile].values.items():
            option = BY_NAME[key]
            assert options[key] == {"value": option.unit.show(option.unit.parse(text)), "origin": f"profile {profile}"}
        assert look(mount) == {"one": b"old", "two": b"old"}
        yield mount


def test_training_asks_for_nothing_twice_and_sees_changes_after_a_refresh(filled: Workshop) -> None:
    with mounted(filled, "training") as mount:
        assert not (mount.path / "none").exists()
        change(filled)
        filled.server.requests.clear()
        for _ in range(3):
            assert look(mount) == {"one": b"old", "two": b"old"}
            assert not (mount.path / "none").exists()
        assert list(filled.server.requests) == []
        assert filled.run("refresh", str(mount.path)).returncode == 0
        eventually(lambda: look(mount) == CHANGED, "the changes are seen")


def test_shared_sees_at_each_open_what_is_current_then(filled: Workshop) -> None:
    with mounted(filled, "shared") as mount:
        for number in range(5):
            filled.server.store.put(BUCKET, b"folder/one", b"%d" % number)
            assert (mount.path / "folder/one").read_bytes() == b"%d" % number
        assert not (mount.path / "folder/three").exists()
        filled.server.store.put(BUCKET, b"folder/three", b"3")
        assert (mount.path / "folder/three").read_bytes() == b"3"  # that it was not there is not believed
        change(filled)
        eventually(lambda: os.listdir(mount.path / "folder") == ["one", "three"], "a listing is believed for 3 s")


@pytest.mark.option("profile")
def test_fresh_sees_each_change_at_once(filled: Workshop) -> None:
    with mounted(filled, "fresh") as mount:
        change(filled)
        one = mount.path / "folder/one"
        assert one.stat().st_size == len(b"newer")
        assert not (mount.path / "folder/two").exists()
        assert (mount.path / "folder/three").stat().st_size == 1
        assert look(mount) == CHANGED
        for size in range(1, 5):
            filled.server.store.put(BUCKET, b"folder/one", b"x" * size)
            assert one.stat().st_size == size and one.read_bytes() == b"x" * size


@pytest.mark.parametrize("cached", [True, False])
def test_inference_reads_a_large_file_in_passthrough_where_there_is_a_cache(filled: Workshop, cached: bool) -> None:
    model = os.urandom(6 << 20)
    filled.server.store.put(BUCKET, b"model.safetensors", model)
    more = ["--cache-dir", str(filled.folder / "cache"), "--cache-free-space", "0", "--memory-limit", "128M"] if cached else []
    with mounted(filled, "inference", *more) as mount:
        path = mount.path / "model.safetensors"
        assert path.read_bytes() == model
        facts = mount.status()["facts"]
        passthrough = facts["channel"]["passthrough"]
        if not cached:
            assert "there is no cache on a local disk" in str(passthrough)
            return
        eventually(lambda: mount.status()["facts"]["disk"]["copies"]["whole"] == 1, "the copy is whole")
        before = mount.status()["counters"]["kernel"].get("READ", 0)
        assert Path(path).read_bytes() == model
        assert mount.status()["counters"]["kernel"].get("READ", 0) == before


def test_a_restart_takes_another_profile_where_nothing_was_agreed_with_the_kernel(filled: Workshop) -> None:
    with filled.mounted("--profile", "training", "--negative-timeout", "7") as mount:
        assert filled.run("restart", str(mount.path), "--profile", "fresh").returncode == 0
        options = mount.status()["options"]
        assert options["attr_timeout"] == {"value": "0", "origin": "profile fresh"}
        assert options["negative_timeout"] == {"value": "7", "origin": "--negative-timeout"}
        change(filled)
        assert look(mount) == CHANGED
        refused = filled.run("restart", str(mount.path), "--profile", "shared")
        assert refused.returncode == 2 and "--close-to-open cannot change from false to true" in refused.stderr
