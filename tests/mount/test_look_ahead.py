"""Whole small files that are there before they are opened: guessed, told, and delivered into the kernel's page cache."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ossmount.emulator.faults import Fault
from ossmount.exit_codes import ExitCode
from ossmount.hints import NotMounted, Prefetcher
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually, workshop

FOLDERS, FILES, SIZE = 5, 30, 20_000
AWAY = 0.01  # seconds to each object: far enough for look-ahead to pay


def content(name: str) -> bytes:
    return random.Random(name).randbytes(SIZE)


def names() -> list[str]:
    found = [f"train/{folder}/{file:03d}.bin" for folder in range(FOLDERS) for file in range(FILES)]
    random.Random(2).shuffle(found)
    return found


@pytest.fixture
def shop() -> Iterator[Workshop]:
    """A server that is some way off, with a tree of small files."""
    with workshop() as made:
        made.environment["OSSMOUNT_CHANNEL"] = "kernel"
        made.environment["OSSMOUNT_MEMORY_LIMIT"] = "64M"
        for name in names():
            made.server.store.put(BUCKET, name.encode(), content(name))
        made.server.faults.add(Fault(operations=("GetObject",), latency=AWAY))
        yield made


def gets(shop: Workshop) -> Counter[str]:
    """How often each object was fetched."""
    return Counter(os.fsdecode(each.key) for each in shop.server.requests if each.method == "GET" and each.key)


def look_ahead(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = mount.status()["facts"]["look_ahead"]
    return found


def kernel_reads(mount: Mount) -> int:
    found: int = mount.status()["counters"]["kernel"].get("READ", 0)
    return found


def walk(mount: Mount) -> None:
    for _ in os.walk(mount.path):
        pass


def read(mount: Mount, name: str) -> bytes:
    return (mount.path / name).read_bytes()


@pytest.mark.parametrize("listed", [True, False])
def test_an_epoch_is_fetched_ahead_each_file_once(shop: Workshop, listed: bool) -> None:
    with shop.mounted() as mount:
        if listed:
            walk(mount)
        order = names()
        for name in order[:100]:
            assert read(mount, name) == content(name)
        eventually(lambda: len(gets(shop)) == len(order), "everything is fetched")
        eventually(lambda: look_ahead(mount)["under_way"] == 0, "everything is delivered")
        before = kernel_reads(mount)
        for name in order[100:]:
            assert read(mount, name) == content(name)
        assert set(gets(shop).values()) == {1}
        if listed:
            assert look_ahead(mount)["stored"] > 0
            assert kernel_reads(mount) - before < 100 - look_ahead(mount)["stored"] // 2


def test_an_epoch_over_pyfuse3_is_fetched_ahead_into_our_memory(shop: Workshop) -> None:
    shop.environment["OSSMOUNT_CHANNEL"] = "pyfuse3"
    with shop.mounted() as mount:
        order = names()
        for name in order[:100]:
            assert read(mount, name) == content(name)
        eventually(lambda: len(gets(shop)) == len(order), "everything is fetched")
        for name in order[100:]:
            assert read(mount, name) == content(name)
        assert look_ahead(mount)["stored"] == 0
        assert set(gets(shop).values()) == {1}


def test_a_told_order_is_fetched_and_nothing_else(shop: Workshop) -> None:
    chosen = names()[:60]
    listed = shop.folder / "list"
    listed.write_text("\n".join([*chosen, "train/0/missing", "no/such", "..", "train", f"{shop.folder}/mount/{chosen[0]}", ""]))
    with shop.mounted() as mount:
        walk(mount)
        done = shop.run("prefetch", str(mount.path), "--from-list", str(listed))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("60 files fetched")
        assert gets(shop) == Counter(chosen)
        eventually(lambda: look_ahead(mount)["lists"] == 0, "the list is closed")
        before = kernel_reads(mount)
        for name in chosen:
            assert read(mount, name) == content(name)
        assert kernel_reads(mount) - before < len(chosen) // 2
        assert gets(shop) == Counter(chosen)


def test_readers_that_drift_apart_are_served_what_they_were_told_and_nothing_else(shop: Workshop) -> None:
    """In a tree that nobody has listed, so that everything waits in our memory, also after the client is gone."""
    chosen = names()[:120]
    listed = shop.folder / "list"
    listed.write_text("\n".join(chosen))
    with shop.mounted() as mount:
        done = shop.run("prefetch", str(mount.path), "--from-list", str(listed))
        assert (done.returncode, done.stderr) == (0, "")
        eventually(lambda: look_ahead(mount)["lists"] == 0, "the list is closed")
        for reader in range(4):
            for name in chosen[reader::4]:
                assert read(mount, name) == content(name)
        eventually(lambda: look_ahead(mount)["staged"] == 0, "all that was told is read")
        assert gets(shop) == Counter(chosen)
        assert look_ahead(mount)["given_back"] == 0


def test_a_list_on_standard_input_and_mistakes(shop: Workshop) -> None:
    with shop.mounted() as mount:
        words = shop.words(["prefetch", str(mount.path / "train"), "--from-list", "-", "-0"])
        paths = b"0/000.bin\x000/001.bin"
        done = subprocess.run(words, input=paths, env=shop.environment, capture_output=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        assert gets(shop) == Counter(["train/0/000.bin", "train/0/001.bin"])
        missing = shop.run("prefetch", str(mount.path), "--from-list", "/nowhere")
        assert missing.returncode == ExitCode.USAGE
        assert "--from-list /nowhere" in missing.stderr
    gone = shop.run("prefetch", str(mount.path), "--from-list", "/dev/null")
    assert gone.returncode == ExitCode.NOT_MOUNTED


def test_hints_from_python_also_in_forked_workers(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", str(shop.folder / "state"))
    order = names()
    with shop.mounted() as mount:
        walk(mount)
        program = (
            "import os, sys\n"
            "from ossmount.hints import Prefetcher\n"
            "mount, *names = sys.argv[1:]\n"
            "prefetcher = Prefetcher(mount)\n"
            "prefetcher.feed(names[:20])\n"
            "prefetcher.finish(60)\n"
            "child = os.fork()\n"
            "prefetcher.feed(names[40:] if child else names[20:40])\n"
            "assert prefetcher.finish(60)['fetched'] == (40 if child else 20)\n"
            "assert prefetcher.is_working\n"
            "prefetcher.close()\n"
            "if not child: os._exit(0)\n"
            "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        )
        words = [sys.executable, "-W", "ignore", "-c", program, str(mount.path), *order[:60]]
        done = subprocess.run(words, env=shop.environment, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        assert gets(shop) == Counter(order[:60])
    with pytest.raises(NotMounted, match="no mount of ossmount"):
        Prefetcher(mount.path)


def test_a_client_that_leaves_gives_its_list_back(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", str(shop.folder / "state"))
    shop.server.faults.add(Fault(operations=("GetObject",), hang=True))  # so that not even a slow test sees the list's end
    with shop.mounted() as mount:
        with Prefetcher(mount.path) as prefetcher:
            prefetcher.feed(names())
            eventually(lambda: look_ahead(mount)["under_way"] > 0, "it has begun")
        eventually(lambda: look_ahead(mount)["lists"] == 0 and look_ahead(mount)["under_way"] == 0, "all is given back")
        eventually(lambda: mount.status()["facts"]["data"]["memory_unread"] == 0, "no memory is held")
        assert len(gets(shop)) < len(names())
        shop.server.faults.clear()
        assert read(mount, names()[0]) == content(names()[0])


def fetch_pids(mount: Mount, killed: Sequence[int]) -> list[int]:
    """None for a moment, where one is killed before it was ready."""
    return [pid for pid in mount.status()["fetch_pids"] if pid not in killed]


def _goes_on(mount: Mount, seen: int, process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None or look_ahead(mount)["fetched"] > seen


def test_fetch_processes_that_die_do_no_harm(shop: Workshop) -> None:
    order = names()
    with shop.mounted() as mount:
        walk(mount)
        listed = shop.folder / "list"
        listed.write_text("\n".join(order))
        words = shop.words(["prefetch", str(mount.path), "--from-list", str(listed)])
        process = subprocess.Popen(words, env=shop.environment, stdout=subprocess.PIPE)
        try:
            killed: list[int] = []
            for turn in range(2):  # a fetch whose process died three times is given up
                eventually(lambda: fetch_pids(mount, killed), "a fetch process runs")
                killed.append(fetch_pids(mount, killed)[0])
                os.kill(killed[-1], signal.SIGKILL)
                seen = look_ahead(mount)["fetched"]
                eventually(partial(_goes_on, mount, seen, process), "it goes on")
                assert read(mount, order[-1 - turn]) == content(order[-1 - turn])
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()
            process.communicate()
        for name in order:
            assert read(mount, name) == content(name)


READER = """
import os, sys
print("reading", flush=True)
try:
    while True:
        for name in sys.argv[1:]:
            descriptor = os.open(name, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.read(descriptor, 1 << 20)
            os.close(descriptor)
except OSError as error:
    sys.exit(0)
"""


def test_readers_get_free_when_the_daemon_is_killed_while_files_are_stored(shop: Workshop) -> None:
    order = names()
    with shop.mounted("--no-keeper") as mount:
        walk(mount)
        listed = shop.folder / "list"
        listed.write_text("\n".join(order))
        paths = [str(mount.path / name) for name in order]
        processes = [
            subprocess.Popen([sys.executable, "-I", "-c", READER, *paths[turn::4]], stdout=subprocess.PIPE) for turn in range(4)
        ]
        words = shop.words(["prefetch", str(mount.path), "--from-list", str(listed)])
        processes.append(subprocess.Popen(words, env=shop.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        try:
            eventually(lambda: look_ahead(mount)["stored"] > 10, "files are stored")
            os.kill(mount.status()["daemon_pid"], signal.SIGKILL)
            for process in processes:
                process.wait(LIMIT)
        finally:
            for process in processes:
                process.kill()
                process.communicate()


def test_an_object_that_is_replaced_is_never_mixed(shop: Workshop) -> None:
    order = names()[:24]
    with shop.mounted("-oattr_timeout=0,entry_timeout=0") as mount:
        walk(mount)
        for name in order[::2]:
            shop.server.store.put(BUCKET, name.encode(), content(name + " new"))
        listed = shop.folder / "list"
        listed.write_text("\n".join(order))
        assert shop.run("prefetch", str(mount.path), "--from-list", str(listed)).returncode == 0
        for index, name in enumerate(order):
            assert read(mount, name) == content(name if index % 2 else name + " new")


def test_damaged_bytes_never_reach_the_kernel(shop: Workshop) -> None:
    order = names()
    shop.server.faults.add(Fault(operations=("GetObject",), corrupt_at=100, probability=0.3))
    with shop.mounted() as mount:
        walk(mount)
        listed = shop.folder / "list"
        listed.write_text("\n".join(order))
        assert shop.run("prefetch", str(mount.path), "--from-list", str(listed)).returncode == 0
        shop.server.faults.clear()
        for name in order:
            assert read(mount, name) == content(name)


def test_warm_reads_everything_once(shop: Workshop) -> None:
    with shop.mounted() as mount:
        done = shop.run("warm", str(mount.path), "train")
        assert done.returncode == 0, done.stderr
        assert f"{FOLDERS * FILES} files" in done.stderr
        assert gets(shop) == Counter(names())
        again = shop.run("warm", str(mount.path), f"{mount.path}/train/0", "train/1/000.bin")
        assert again.returncode == 0
        assert gets(shop) == Counter(names())


def test_warm_tells_what_it_could_not_read(shop: Workshop) -> None:
    shop.server.faults.add(Fault(keys="train/0/00[12].bin", code="AccessDenied"))
    with shop.mounted() as mount:
        done = shop.run("warm", str(mount.path), "train/0", "missing")
        assert done.returncode == ExitCode.UNEXPECTED
        assert "train/0/001.bin: Permission denied" in done.stderr
        assert "missing: No such file or directory" in done.stderr
        assert "3 failed" in done.stderr
        pinned = shop.run("warm", str(mount.path), "train", "--pin")
        assert (pinned.returncode, "--pin" in pinned.stderr) == (ExitCode.USAGE, True)
        outside = shop.run("warm", str(mount.path), "../x")
        assert (outside.returncode, "../x" in outside.stderr) == (ExitCode.USAGE, True)
    gone = shop.run("warm", str(mount.path), "train")
    assert gone.returncode == ExitCode.NOT_MOUNTED


def test_hints_stand_alone(shop: Workshop) -> None:
    """One file, the standard library, and nothing else: it can be copied into an image."""
    copy = shop.folder / "hints.py"
    copy.write_bytes((Path(__file__).parents[2] / "ossmount" / "hints.py").read_bytes())
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hints; p = hints.Prefetcher(sys.argv[2]); "
        "p.feed(['train/0/000.bin']); import json; print(json.dumps(p.finish(60))); p.close()"
    )
    with shop.mounted() as mount:
        words = [sys.executable, "-I", "-S", "-c", program, str(shop.folder), str(mount.path)]
        done = subprocess.run(words, env=shop.environment, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"told": 1, "fetched": 1, "left_out": 0}
