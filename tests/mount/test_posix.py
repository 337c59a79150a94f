"""The same calls on a read-only ext4 and on ours: what differs is listed here, each with its reason, and nothing else does."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mount.posix_differences import DIFFERENCES
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, as_nobody, workshop

MTIME = 1_700_000_000
BIG = random.Random(5).randbytes(300_123)
FILES = {"small.txt": b"hello", "empty": b"", "big.bin": BIG, "dir/sub/deep": b"deep"} | {
    f"dir/{number:02d}": b"%d" % number for number in range(60)
}
LINKS = {"link": "small.txt", "dangling": "nowhere"}
PROGRAM = Path(__file__).with_name("posix_probes.py")


@pytest.fixture(scope="module", params=["kernel", "pyfuse3"])
def ours(request: pytest.FixtureRequest) -> Iterator[Mount]:
    with workshop() as shop:
        shop.environment["OSSMOUNT_CHANNEL"] = request.param
        for name, data in FILES.items():
            shop.server.store.put(BUCKET, name.encode(), data, mtime=MTIME)
        for name, target in LINKS.items():
            shop.server.store.put_symlink(BUCKET, name.encode(), target.encode(), mtime=MTIME)
        (shop.folder / "program.py").write_bytes(PROGRAM.read_bytes())  # the checkout may be root's own
        with shop.mounted("-o", "allow_other") as mount:
            yield mount


@pytest.fixture(scope="module")
def local(ours: Mount) -> Iterator[Path]:
    """The same tree in an ext4 of its own, mounted read-only."""
    folder = ours.workshop.folder
    tree, image, mountpoint = folder / "tree", folder / "image", folder / "ext4"
    before = os.umask(0o022)
    try:
        for name, data in FILES.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(data)
            os.utime(tree / name, (MTIME, MTIME))
        for name, target in LINKS.items():
            (tree / name).symlink_to(target)
        mountpoint.mkdir()
    finally:
        os.umask(before)
    for words in (
        ["mkfs.ext4", "-q", "-b", "4096", "-d", str(tree), str(image), "16M"],
        ["mount", "-o", "loop,ro,nosuid,nodev"],
    ):
        places = [str(image), str(mountpoint)] if words[0] == "mount" else []
        subprocess.run([*words, *places], check=True, timeout=LIMIT, capture_output=True)
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", "--lazy", str(mountpoint)], check=True, timeout=LIMIT)


def ask(shop: Workshop, root: Path, user: str) -> dict[str, Any]:
    scratch = shop.folder / f"scratch-{root.name}-{user}"
    scratch.mkdir()
    scratch.chmod(0o777)
    words = [sys.executable, "-I", str(shop.folder / "program.py"), str(root), str(scratch)]
    words = words if user == "root" else as_nobody(words, readable=True)
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_only_what_is_listed_differs_from_ext4(ours: Mount, local: Path, user: str) -> None:
    shop = ours.workshop
    there, here = ask(shop, local, user), ask(shop, ours.path, user)
    assert len(here) > 140 and here.keys() == there.keys()
    differing = {name: (there[name], here[name]) for name in here if here[name] != there[name]}
    channel = shop.environment["OSSMOUNT_CHANNEL"]
    listed = {one.probe: one for one in DIFFERENCES if channel in one.channels and user in one.users}
    unexpected = {name: found for name, found in differing.items() if name not in listed}
    assert not unexpected, f"(ext4, ours): {json.dumps(unexpected, indent=1)}"
    assert not listed.keys() - differing.keys(), "these do not differ any more"
    wrong = {name: differing[name] for name, one in listed.items() if [*differing[name]] != [one.ext4, one.ours]}
    assert not wrong, f"they differ otherwise than listed: {wrong}"


def test_each_difference_has_a_reason() -> None:
    assert all(one.reason.endswith(".") for one in DIFFERENCES)
    keys = [(one.probe, channel, user) for one in DIFFERENCES for channel in one.channels for user in one.users]
    assert len(set(keys)) == len(keys)
