"""A mount on a node: the keeper in one container, its daemons in another, which may be killed or get a new image."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.channel.mounting import find_mount
from tests.mount.support import BUCKET, LIMIT, Workshop, eventually

FILES = 40
READER = """
import os, sys
folder, stop = sys.argv[1:]
passes = 0
while not os.path.exists(stop):
    for name in sorted(os.listdir(folder)):
        descriptor = os.open(f"{folder}/{name}", os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        data = os.read(descriptor, 1 << 20)
        os.close(descriptor)
        assert data == name.encode() * 5000, name
    passes += 1
    print(passes, flush=True)
"""


class Node:
    """The two containers as processes of this machine."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.mountpoint = str(shop.folder / "hostpath")
        shop.environment |= {
            "OSSMOUNT_SOURCE": f"oss://{BUCKET}/train",
            "OSSMOUNT_MOUNTPOINT": self.mountpoint,
            "OSSMOUNT_NODE_USER": "root",
            "OSSMOUNT_NODE_DRAIN": "10",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, role: str) -> subprocess.Popen[bytes]:
        log = open(self.shop.folder / f"foreground-{role}.log", "ab")  # noqa: SIM115  # the process's
        words = ["/usr/bin/env", "--default-signal=INT,TERM,HUP", sys.executable, "-m", "ossmount.node.main", role]
        environ = dict(self.shop.environment)
        if role == "keeper":  # has no access keys
            environ = {name: value for name, value in environ.items() if not name.startswith("OSS_ACCESS")}
        self.processes.append(subprocess.Popen(words, env=environ, stdout=log, stderr=log))
        log.close()
        return self.processes[-1]

    def status(self) -> dict[str, object]:
        done = self.shop.run("status", "--json", self.mountpoint)
        found: dict[str, object] = json.loads(done.stdout) if done.stdout else {}
        return found

    def serving(self) -> bool:
        return self.status().get("state") == "serving"

    def kill_container(self, starter: subprocess.Popen[bytes]) -> None:
        """As a runtime ends a container: all that is in it."""
        daemon = self.status()["daemon_pid"]
        assert isinstance(daemon, int)
        starter.kill()
        starter.wait()
        os.kill(daemon, signal.SIGKILL)

    def clear(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        for record in (self.shop.folder / "state").glob("*.json"):
            value = json.loads(record.read_text())
            for pid in (value["keeper_pid"], value["pid"]):
                if (
                    pid
                    and Path(f"/proc/{pid}/cmdline").exists()
                    and self.mountpoint in Path(f"/proc/{pid}/cmdline").read_text()
                ):
                    os.kill(pid, signal.SIGKILL)
        while find_mount(self.mountpoint) is not None:
            subprocess.run(["umount", "--lazy", self.mountpoint], check=True, timeout=LIMIT)


@pytest.fixture
def node(plain_shop: Workshop) -> Iterator[Node]:
    for number in range(FILES):
        plain_shop.server.store.put(BUCKET, b"train/%03d" % number, b"%03d" % number * 5000)
    made = Node(plain_shop)
    try:
        yield made
    finally:
        print(plain_shop.log(Path(made.mountpoint)))  # shown when the test has failed
        made.clear()


def test_the_container_of_the_daemon_is_killed_under_a_reading_job(node: Node) -> None:
    keeper = node.start("keeper")  # the keeper may be first, and waits
    starter = node.start("starter")
    eventually(node.serving, "the mount serves")
    before = find_mount(node.mountpoint)
    assert node.start("health").wait(LIMIT) == 0
    assert node.start("drained").wait(LIMIT) == 0, "nothing to wait for: only the daemons end"
    stop = node.shop.folder / "stop"
    words = [sys.executable, "-c", READER, node.mountpoint, str(stop)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "1\n"
        for _ in range(2):
            node.kill_container(starter)
            eventually(lambda: not node.serving(), "nobody serves")
            starter = node.start("starter")
            eventually(node.serving, "the next daemon serves")
            reader.stdout.readline()
        stop.touch()
        reader.communicate(timeout=LIMIT)
        assert reader.returncode == 0, "no error, no wrong byte"
    assert find_mount(node.mountpoint) == before
    keeper.send_signal(signal.SIGTERM)
    assert keeper.wait(LIMIT) == 0
    assert find_mount(node.mountpoint) is None


def test_at_the_end_readers_may_finish(node: Node) -> None:
    node.start("starter")
    keeper = node.start("keeper")
    eventually(node.serving, "the mount serves")
    with open(f"{node.mountpoint}/001", "rb", buffering=0) as file:
        keeper.send_signal(signal.SIGTERM)
        eventually(lambda: find_mount(node.mountpoint) is None, "no new readers")
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert file.read() == b"001" * 5000
        waiting = node.start("drained")  # the preStop hook of the daemons' container
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
    assert waiting.wait(LIMIT) == 0
    assert keeper.wait(LIMIT) == 0


@pytest.mark.stress
def test_a_keeper_that_dies_is_followed_by_a_new_mount(node: Node) -> None:
    """With the keeper and its daemon the connection ends: what is left is taken away, and mounted anew."""
    starter = node.start("starter")
    node.start("keeper")
    eventually(node.serving, "the mount serves")
    status = node.status()
    starter.kill()
    for name in ("keeper_pid", "daemon_pid"):
        number = status[name]
        assert isinstance(number, int)
        os.kill(number, signal.SIGKILL)
    starter.wait()
    node.start("starter")
    eventually(lambda: node.status().get("keeper_pid") != status["keeper_pid"] and node.serving(), "it is mounted anew")
    assert len(os.listdir(node.mountpoint)) == FILES


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        (["keeper"], {"OSSMOUNT_NODE_USER": "no-such-user"}, "there is no user no-such-user"),
        (["keeper"], {"OSSMOUNT_NODE_DRAIN": "soon"}, "OSSMOUNT_NODE_DRAIN"),
        (["keeper"], {"OSSMOUNT_SOURCE": ""}, "OSSMOUNT_MOUNTPOINT is set, but OSSMOUNT_SOURCE is not"),
        (["starter"], {"OSSMOUNT_STATE_DIR": ""}, "OSSMOUNT_STATE_DIR"),
        (["daemon"], {}, "usage: ossmount-node"),
    ],
)
def test_what_it_is_told_wrongly(node: Node, words: list[str], changes: dict[str, str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ossmount.node.main", *words],
        env={**node.shop.environment, **changes},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 2 and said in done.stderr
