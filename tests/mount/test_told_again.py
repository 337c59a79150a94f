"""Told lists and pins outlive the daemon that was told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ossmount.cli.status import look_at
from ossmount.control.registry import Registry
from ossmount.emulator.faults import Fault
from ossmount.exit_codes import ExitCode
from ossmount.hints import NotMounted, Prefetcher
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually, workshop

NAMES = [f"train/{number:03d}.bin" for number in range(90)]
ANSWERED = 30  # GETs


@pytest.fixture
def shop() -> Iterator[Workshop]:
    """A server that answers some GETs, and then none until it is told to."""
    with workshop() as made:
        for name in NAMES:
            made.server.store.put(BUCKET, name.encode(), name.encode() * 1000)
        made.server.faults.add(Fault(operations=("GetObject",), skip=ANSWERED, hang=True))
        made.environment["OSSMOUNT_CONNECTIONS"] = "8"
        made.environment["OSSMOUNT_TIMEOUT"] = str(10 * int(LIMIT))
        yield made


def answer(shop: Workshop) -> None:
    shop.server.faults.clear()
    shop.server.drop_connections()


def gets(shop: Workshop) -> Counter[str]:
    return Counter(os.fsdecode(each.key) for each in shop.server.requests if each.method == "GET" and each.key)


def facts(mount: Mount) -> dict[str, Any]:
    """What the daemon says of its look-ahead; nothing while there is none."""
    record = registry(mount).find(str(mount.path))
    state = record and look_at(registry(mount), record)
    found: dict[str, Any] = state["facts"]["look_ahead"] if state and state["state"] == "serving" else {}
    return found


def registry(mount: Mount) -> Registry:
    return Registry(mount.workshop.folder / "state")


def kill_daemon(mount: Mount) -> None:
    record = registry(mount).find(str(mount.path))
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)


def fetches(shop: Workshop, more_than: int) -> None:
    eventually(lambda: sum(gets(shop).values()) > more_than, "the list is being fetched")


def test_prefetch_goes_on_with_the_daemons_that_follow(shop: Workshop) -> None:
    listed = shop.folder / "list"
    listed.write_text("\n".join(["train/missing", *NAMES, "no/such"]))
    with shop.mounted() as mount:
        words = shop.words(["prefetch", str(mount.path), "--from-list", str(listed)])
        with subprocess.Popen(words, env=shop.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as teller:
            try:
                fetches(shop, ANSWERED)
                kill_daemon(mount)
                eventually(lambda: facts(mount).get("under_way"), "the next daemon was told")
                assert shop.run("restart", str(mount.path)).returncode == 0
                eventually(lambda: facts(mount).get("under_way"), "the one that follows was told")
                answer(shop)
                said, errors = teller.communicate(timeout=LIMIT)
            finally:
                teller.kill()
        assert (teller.returncode, errors) == (0, "")
        fetched, there, unknown = map(int, re.findall(r"(\d+) (?:files|were|left)", said))
        assert (fetched + there, unknown) == (len(NAMES), 2)
        assert set(gets(shop)) == set(NAMES)
        keeper = mount.status()["facts"]["keeper"]
        assert (keeper["deaths"], keeper["restarts"]) == (1, 1)


@pytest.mark.stress
def test_a_client_that_only_told_tells_again_and_can_take_it_back(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of it in between: it notices by itself that the daemon is another one."""
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", str(shop.folder / "state"))
    with shop.mounted() as mount:
        with Prefetcher(mount.path) as prefetcher:
            prefetcher.feed(NAMES)
            fetches(shop, ANSWERED)
            eventually(lambda: len(prefetcher._told) < len(NAMES), "it has heard what is done")
            for _ in range(2):
                kill_daemon(mount)
                eventually(lambda: facts(mount).get("under_way"), "the next daemon was told")
            answer(shop)
            assert prefetcher.finish(LIMIT)["told"] == len(NAMES)
            assert gets(shop)[NAMES[0]] == 1  # it was done with before
            assert set(gets(shop)) == set(NAMES)
            shop.server.faults.add(Fault(operations=("GetObject",), hang=True))
            for name in NAMES:
                shop.server.store.put(BUCKET, name.encode(), b"another")
            assert shop.run("refresh", str(mount.path)).returncode == 0
            prefetcher.feed(NAMES)
            eventually(lambda: facts(mount).get("under_way"), "the next list has begun")
        eventually(lambda: facts(mount).get("lists") == facts(mount).get("under_way") == 0, "all is given back")


@pytest.mark.parametrize("how", [pytest.param("umount", marks=pytest.mark.stress), "no keeper"])
def test_a_client_ends_with_the_mount(shop: Workshop, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", str(shop.folder / "state"))
    listed = shop.folder / "list"
    listed.write_text("\n".join(NAMES))
    with shop.mounted(*(["--no-keeper"] if how == "no keeper" else [])) as mount, Prefetcher(mount.path) as prefetcher:
        prefetcher.feed(NAMES)
        words = shop.words(["prefetch", str(mount.path), "--from-list", str(listed)])
        with subprocess.Popen(words, env=shop.environment, stderr=subprocess.PIPE, text=True) as teller:
            try:
                eventually(lambda: facts(mount).get("lists") == 2, "both have told")
                if how == "umount":
                    assert shop.run("umount", str(mount.path)).returncode == 0
                else:
                    kill_daemon(mount)
                _, errors = teller.communicate(timeout=LIMIT)
            finally:
                teller.kill()
        assert teller.returncode == ExitCode.NOT_MOUNTED and str(mount.path) in errors
        with pytest.raises(NotMounted, match="the daemon cannot be told anything"):
            prefetcher.finish(LIMIT)
        assert not prefetcher.is_working
        prefetcher.feed(NAMES)  # which does not fail


@pytest.mark.stress
def test_pinning_goes_on_with_the_next_daemon(shop: Workshop) -> None:
    """The daemon dies while the files are read for it."""
    folder = shop.folder / "cache"
    with shop.mounted("--cache-dir", str(folder)) as mount:
        words = shop.words(["warm", str(mount.path), "--pin", "train"])
        with subprocess.Popen(words, env=shop.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as warm:
            try:
                fetches(shop, ANSWERED)
                kill_daemon(mount)
                answer(shop)
                _, errors = warm.communicate(timeout=2 * LIMIT)
            finally:
                warm.kill()
        assert warm.returncode == 0 and f"{len(NAMES)} files" in errors, errors
        assert len(list(Path(folder).rglob("*.pin"))) == len(NAMES)
        assert mount.status()["facts"]["keeper"]["deaths"] == 1
