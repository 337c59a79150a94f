"""Versions that were replaced leave the metadata store once the kernel has dropped them, and not before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.mount.support import BUCKET, Mount, Workshop, eventually

#: The command with shorter times between two looks.
_HURRIED = """
import sys
from ossmount.metadata import pruner
pruner.PERIOD, pruner.GRACE, pruner.ALONE, pruner.REST = 0.05, 0.1, 0.1, 0.0
from ossmount.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def hurried(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    def words(arguments: Sequence[str]) -> list[str]:
        return ["/usr/bin/env", "--default-signal=INT,TERM,HUP", sys.executable, "-c", _HURRIED, *arguments]

    monkeypatch.setattr(shop, "words", words)
    return shop


def store_of(mount: Mount) -> dict[str, Any]:
    store: dict[str, Any] = mount.status()["facts"]["metadata"]["store"]
    return store


def test_files_that_are_overwritten_again_and_again(hurried: Workshop) -> None:
    names = ["a", "dir/b", "dir/c"]
    for name in names:
        hurried.server.store.put(BUCKET, name.encode(), b"version 0")
    # the daemon of a keeper would be started without the hurry
    with hurried.mounted("-o", "attr_timeout=0,entry_timeout=0", "--no-keeper", foreground=True) as mount:
        assert [(mount.path / name).read_bytes() for name in names] == [b"version 0"] * 3
        wanted = store_of(mount)["node_ids"]
        greatest = max((mount.path / name).stat().st_ino for name in names)
        with open(mount.path / "a", "rb"):
            for version in range(1, 6):
                data = b"version %d" % version
                for name in names:
                    hurried.server.store.put(BUCKET, name.encode(), data)
                    assert (mount.path / name).read_bytes() == data
                inodes = [(mount.path / name).stat().st_ino for name in names]
                assert min(inodes) > greatest, "a number was used again"
                greatest = max(inodes)
            eventually(lambda: store_of(mount)["node_ids"] == wanted + 1, "all but what is held open left the store")
            pruned = mount.status()["facts"]["metadata"]["pruned"]
            assert pruned == 5 * 3 - 1
        eventually(lambda: store_of(mount)["retired"] == 0, "what was held open left it too")
        assert store_of(mount)["node_ids"] == wanted
        assert [(mount.path / name).read_bytes() for name in names] == [b"version 5"] * 3
