"""No secret of a mount can be read where it does not belong, and nothing that a mount makes can be read by other users."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.channel import mounting
from ossmount.daemon.processes import descendants
from tests.mount.support import BUCKET, NOBODY, Mount, Workshop, eventually, workshop

SECRETS = {
    "OSS_ACCESS_KEY_SECRET": "s3cr3t-Kq81-of-the-key",
    "OSS_SECURITY_TOKEN": "t0k3n-Zw27-of-the-session",
}
PROXY = "pr0xy-Hb53-of-the-password"
BIG = os.urandom(3 << 20)


def hidden(data: bytes) -> bool:
    """Whether none of the secrets is in it."""
    return not any(secret.encode() in data for secret in (*SECRETS.values(), PROXY))


def with_secrets(shop: Workshop) -> None:
    shop.environment |= SECRETS
    shop.environment["OSSMOUNT_PROXY"] = f"http://me:{PROXY}@{shop.server.url.removeprefix('http://')}"
    shop.server.accounts.add("test-id", SECRETS["OSS_ACCESS_KEY_SECRET"], SECRETS["OSS_SECURITY_TOKEN"])
    shop.server.store.put(BUCKET, b"big", BIG)
    shop.server.store.put(BUCKET, b"folder/small", b"hello")


@pytest.fixture(params=[("root", "kernel"), ("nobody", "kernel"), ("nobody", "pyfuse3")], ids="-".join)
def secretive(request: pytest.FixtureRequest) -> Iterator[Workshop]:
    """A server that wants secrets which can be told from all other text."""
    user, channel = request.param
    with workshop(user) as made:
        made.environment["OSSMOUNT_CHANNEL"] = channel
        with_secrets(made)
        yield made


def use(mount: Mount) -> None:
    """Starts all that a mount starts: disk processes, notifications, a wrong request that is logged."""
    path = mount.path
    assert mount.workshop.run("warm", str(path), ".").returncode == 0
    assert mount.workshop.run("refresh", str(path)).returncode == 0
    assert mount.workshop.run("status", str(path / "nowhere")).returncode != 0


def dump(mount: Mount) -> None:
    """Has the daemon write down what it is doing."""
    os.kill(mount.status()["daemon_pid"], signal.SIGUSR2)
    eventually(lambda: "received SIGUSR2" in mount.log and "counters:" in mount.log, "it is written")


def processes(status: dict[str, object]) -> list[int]:
    """The keeper (0: none), the daemon and all that they have started."""
    first = [pid for pid in (status["keeper_pid"], status["daemon_pid"]) if isinstance(pid, int) and pid]
    return sorted({*first, *(child for pid in first for child in descendants(pid))})


def test_no_secret_is_in_any_log_argument_answer_or_file(secretive: Workshop) -> None:
    cache = secretive.mountpoint("cache")
    with secretive.mounted("--cache-dir", str(cache), "--log-level", "debug") as mount:
        use(mount)
        dump(mount)
        status = mount.status()
        pids = processes(status)
        assert len(pids) >= 4  # the daemon, a fetch process, two disk processes
        for pid in pids:
            assert hidden(Path(f"/proc/{pid}/cmdline").read_bytes()), f"arguments of {pid}"
        for command in (["status"], ["status", "--json"], ["status", str(mount.path)], ["status", str(mount.path), "--json"]):
            done = secretive.run(*command)
            assert done.returncode == 0 and hidden((done.stdout + done.stderr).encode(errors="surrogateescape")), command
        may_know = {status["keeper_pid"], status["daemon_pid"]}
        for pid in pids:
            shown = Path(f"/proc/{pid}/environ").read_bytes()
            assert hidden(shown) or pid in may_know, f"environment of {pid}: {Path(f'/proc/{pid}/comm').read_text()}"
    for folder in ("state", "metadata", "cache"):
        for path in (secretive.folder / folder).rglob("*"):
            if path.is_file():
                assert hidden(path.read_bytes()), path


def test_other_users_can_read_nothing_that_a_mount_makes(secretive: Workshop) -> None:
    cache = secretive.mountpoint("cache")
    (secretive.folder / "keys.txt").write_text("big\nfolder/small\n")
    arguments = ("--cache-dir", str(cache), "--manifest", str(secretive.folder / "keys.txt"))
    before = os.umask(0)  # the most careless one
    try:
        with secretive.mounted(*arguments) as mount:
            use(mount)
            folders = [secretive.folder / name for name in ("state", "metadata", "cache")]
            eventually(lambda: any(path.is_file() for path in (cache / "ossmount-1").rglob("*")), "the cache has a file")
            made = [path for folder in folders for path in folder.rglob("*")]
            kinds = {stat.S_IFMT(path.lstat().st_mode) for path in made}
            assert {stat.S_IFREG, stat.S_IFDIR, stat.S_IFSOCK} == kinds
            open_to_others = [path for path in made if path.lstat().st_mode & 0o077]
            assert not open_to_others
    finally:
        os.umask(before)


def test_no_process_dumps_core_or_lets_its_user_look_into_it(secretive: Workshop) -> None:
    with secretive.mounted("--cache-dir", str(secretive.mountpoint("cache"))) as mount:
        use(mount)
        status = mount.status()
        for pid in processes(status):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            limit = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in line)
            assert limit.split()[4:6] == ["0", "0"], name
            fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            if "ossmount-" in name and name != "ossmount-keeper":
                assert fields["NoNewPrivs"] == "1", name
            if secretive.user != "root" and not is_notifier(pid):
                assert int(fields["Uid"].split()[0]) == NOBODY
                # /proc/PID belongs to root where PR_SET_DUMPABLE is 0: nobody else may trace it or read its environment
                assert os.stat(f"/proc/{pid}/environ").st_uid == 0, name
    assert not mounting.find_mount(str(mount.path))


def is_notifier(pid: int) -> bool:
    """The process that writes notifications, and knows nothing else."""
    return b"notify_process.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
