"""How long names and attributes are believed, and `ossmount refresh`, through real mounts."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from pathlib import Path

import pytest

from ossmount.channel.kernel_channel.notify import CAPACITY
from ossmount.emulator.faults import Fault
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, Mount, Workshop, eventually

FOREVER = ("-o", "attr_timeout=inf,entry_timeout=inf,negative_timeout=inf")


def tree(path: Path) -> dict[str, int]:
    """Every file below a folder with its size, as stat(2) tells it."""
    return {
        os.path.relpath(os.path.join(folder, name), path): os.stat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(path)
        for name in names
    }


def becomes(path: Path, wanted: dict[str, int]) -> bool:
    """Whether the tree is this; while it changes, a name that was listed may be gone when it is asked for."""
    try:
        return tree(path) == wanted
    except OSError as failure:
        assert failure.errno in (errno.ENOENT, errno.ESTALE)
        return False


def fill(shop: Workshop) -> None:
    for key in (b"a/one", b"a/two", b"b/three"):
        shop.server.store.put(BUCKET, key, b"old")


def change(shop: Workshop) -> None:
    shop.server.store.put(BUCKET, b"a/one", b"changed")
    shop.server.store.delete(BUCKET, b"a/two")
    shop.server.store.put(BUCKET, b"a/new", b"")
    shop.server.store.put(BUCKET, b"b/three", b"changed")


def test_refresh_shows_what_changed_and_nothing_else_is_asked(shop: Workshop) -> None:
    fill(shop)
    with shop.mounted(*FOREVER) as mount:
        old = {"a/one": 3, "a/two": 3, "b/three": 3}
        assert tree(mount.path) == old
        assert not (mount.path / "a/new").exists()
        assert (mount.path / "a/one").read_bytes() == b"old"
        change(shop)
        assert tree(mount.path) == old
        done = shop.run("refresh", str(mount.path), "a")
        assert (done.returncode, done.stdout, done.stderr) == (0, "2 names are asked again\n", "")
        assert tree(mount.path / "a") == {"one": 7, "new": 0}
        assert (mount.path / "a/new").exists()
        assert (mount.path / "a/one").read_bytes() == b"changed"
        assert shop.run("refresh", str(mount.path)).returncode == 0
        assert tree(mount.path) == {"a/one": 7, "a/new": 0, "b/three": 7}


@pytest.mark.stress
def test_refresh_reaches_each_name_of_a_very_large_folder(plain_shop: Workshop) -> None:
    """The kernel is told of more names than may wait to be told at one time."""
    names = [b"d/%06d" % number for number in range(CAPACITY)]
    plain_shop.server.store.put_many(BUCKET, names)
    with plain_shop.mounted(*FOREVER) as mount:
        folder = mount.path / "d"
        assert sum(entry.stat().st_size == 0 for entry in os.scandir(folder)) == len(names)
        last = folder / os.fsdecode(names[-1][2:])
        plain_shop.server.store.put(BUCKET, names[-1], b"changed")
        assert last.stat().st_size == 0
        assert plain_shop.run("refresh", str(mount.path)).stdout == f"{len(names) + 1:,} names are asked again\n"
        assert last.stat().st_size == 7
        assert mount.status()["facts"]["channel"]["notifications"]["entries"]["lost"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("MOUNT", "none/of/it"), ExitCode.OK, "nothing of it was known"),
        (("MOUNT", "MOUNT/a/one"), ExitCode.OK, "1 name is asked again"),
        (("MOUNT", "./a//one"), ExitCode.OK, "1 name is asked again"),
        (("MOUNT", "/etc"), ExitCode.USAGE, "does not lie below"),
        (("MOUNT", "../x"), ExitCode.USAGE, "leaves the mount"),
        (("/nowhere",), ExitCode.NOT_MOUNTED, "no mount of yours"),
    ],
)
def test_what_refresh_says(plain_shop: Workshop, arguments: tuple[str, ...], code: ExitCode, said: str) -> None:
    fill(plain_shop)
    with plain_shop.mounted(*FOREVER) as mount:
        assert len(tree(mount.path)) == 3
        done = plain_shop.run("refresh", *(text.replace("MOUNT", str(mount.path)) for text in arguments))
        assert done.returncode == code
        assert said in done.stdout + done.stderr


def lists(mount: Mount) -> int:
    count = mount.status()["counters"]["list"]
    assert isinstance(count, int)
    return count


@pytest.mark.option("metadata_ttl", "negative_ttl")
def test_our_store_believes_longer_than_the_kernel(plain_shop: Workshop) -> None:
    """With metadata_ttl=inf nothing is asked again, although the kernel asks us at every use."""
    fill(plain_shop)
    options = "attr_timeout=0,entry_timeout=0,negative_timeout=0,metadata_ttl=inf,negative_ttl=inf"
    with plain_shop.mounted("-o", options) as mount:
        old = tree(mount.path)
        before = lists(mount)
        change(plain_shop)
        assert tree(mount.path) == old
        assert not (mount.path / "a/new").exists()
        assert lists(mount) == before


@pytest.mark.option("metadata_stale")
def test_what_is_too_old_is_answered_while_it_is_asked_again(plain_shop: Workshop) -> None:
    fill(plain_shop)
    options = "attr_timeout=0,entry_timeout=0,metadata_ttl=1ms,metadata_stale=1h"
    with plain_shop.mounted("-o", options) as mount:
        assert len(tree(mount.path)) == 3
        plain_shop.server.faults.add(Fault(operations=("LIST", "HEAD"), hang=True))
        assert len(tree(mount.path)) == 3, "nobody waits for what is asked again"
        plain_shop.server.faults.clear()
        change(plain_shop)
        eventually(lambda: becomes(mount.path, {"a/one": 7, "a/new": 0, "b/three": 7}), "the background has asked again")


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.option("metadata")
def test_metadata_in_memory_outlives_the_daemon(plain_shop: Workshop, killed: bool) -> None:
    fill(plain_shop)
    env = {"OSSMOUNT_METADATA_DIR": None}
    with plain_shop.mounted("--metadata", "memory", "--no-keeper", *FOREVER, env=env) as mount:
        ids = {name: os.stat(mount.path / name).st_ino for name in tree(mount.path)}
        store = mount.status()["facts"]["metadata"]["store"]
        assert store["path"].startswith("/dev/shm/")
        if killed:
            os.kill(mount.status()["daemon_pid"], signal.SIGKILL)
    assert not any((plain_shop.folder / "metadata").iterdir())
    try:
        with plain_shop.mounted("--metadata", "memory", *FOREVER, env=env) as mount:
            assert {name: os.stat(mount.path / name).st_ino for name in tree(mount.path)} == ids
            assert lists(mount) == 1  # the check at mount
    finally:
        for file in Path(store["path"]).iterdir():
            file.unlink()
        Path(store["path"]).rmdir()
        with contextlib.suppress(OSError):  # there are stores of other mounts
            Path(store["path"]).parent.rmdir()
