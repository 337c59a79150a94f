"""The commands as users run them: starting, stopping, and every way in which mounting fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.channel import mounting
from ossmount.control.client import ask
from ossmount.control.registry import process_start
from ossmount.emulator.faults import Fault
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually, workshop

SECRET = "test-secret"


@pytest.fixture
def filled(plain_shop: Workshop) -> Workshop:
    plain_shop.server.store.put(BUCKET, b"folder/file.txt", b"hello")
    return plain_shop


def gone(pids: list[int]) -> bool:
    return all(process_start(pid) is None for pid in pids)


def is_mounted(path: Path) -> bool:
    return mounting.find_mount(str(path)) is not None


# -- mounting and unmounting


def test_mount_returns_once_the_mount_answers_and_umount_ends_every_process(shop: Workshop, channel: str) -> None:
    shop.server.store.put(BUCKET, b"file", b"hello")
    with shop.mounted(anew=True) as mount:
        assert (mount.path / "file").read_bytes() == b"hello"
        status = mount.status()
        assert status["state"] == "serving"
        assert status["channel"] == channel
        assert status["daemon_pid"] in status["pids"]
        assert set(status["fetch_pids"]) <= set(status["pids"])
        assert (status["keeper_pid"] is not None) == (channel == "kernel")
        if channel == "kernel":
            assert status["keeper_pid"] in status["pids"]
        assert status["counters"]["list"] >= 1
        assert status["counters"]["kernel"]
        pids = status["pids"]
        done = shop.run_anew("umount", str(mount.path))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert not is_mounted(mount.path)
        eventually(lambda: gone(pids), "every process of the mount has ended")
        assert shop.run_anew("status").stdout == "nothing is mounted\n"
        assert "Traceback" not in mount.log
        assert not list((shop.folder / "state").glob("*.json")) + list((shop.folder / "state").glob("*.sock"))


@pytest.fixture(scope="module")
def running() -> Iterator[Mount]:
    """A mount in the background with options of every origin, for tests that only look at it."""
    with workshop() as shop:
        shop.server.store.put(BUCKET, b"folder/file.txt", b"hello")
        proxy = ["--proxy", f"http://me:hunter2@{shop.server.url[7:]}"]
        with shop.mounted(
            "-o", "ro,umask=027", "--uid", "7", "--log-level", "debug", *proxy, env={"OSSMOUNT_GID": "8"}
        ) as mount:
            (mount.path / "folder/file.txt").read_bytes()
            yield mount


def test_the_daemon_keeps_nothing_of_the_command_that_started_it(running: Mount) -> None:
    pid = running.status()["daemon_pid"]
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    log = running.status()["log"]
    assert os.readlink(f"/proc/{pid}/fd/1") == os.readlink(f"/proc/{pid}/fd/2") == log
    assert os.getsid(pid) == pid
    assert os.stat(log).st_mode & 0o777 == 0o600
    for path in (running.workshop.folder / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_no_secret_is_shown_anywhere(running: Mount) -> None:
    status = running.status()
    shown = [running.log, running.workshop.run("status", str(running.path)).stdout, json.dumps(status)]
    shown += [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in status["pids"]]
    shown += [path.read_text() for path in (running.workshop.folder / "state").glob("*.json")]
    for text in shown:
        assert SECRET not in text and "hunter2" not in text
    assert status["options"]["proxy"]["value"].startswith("http://***@")


@pytest.mark.option("uid", "gid", "umask")
def test_options_and_where_they_came_from(running: Mount) -> None:
    options = running.status()["options"]
    assert options["umask"] == {"value": "027", "origin": "-o umask"}
    assert options["uid"] == {"value": "7", "origin": "--uid"}
    assert options["gid"] == {"value": "8", "origin": "OSSMOUNT_GID"}
    assert options["timeout"] == {"value": "30", "origin": "OSSMOUNT_TIMEOUT"}
    assert options["entry_timeout"] == {"value": "60", "origin": "default"}
    stat = (running.path / "folder/file.txt").stat()
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (7, 8, 0o640)
    text = running.workshop.run("status", str(running.path)).stdout
    assert "    umask = 027  (-o umask)\n" in text


@pytest.mark.option("credentials")
def test_credentials_from_a_file_and_a_prefix_as_the_root(filled: Workshop) -> None:
    keys = filled.folder / "keys.json"
    keys.write_text(json.dumps({"AccessKeyId": "test-id", "AccessKeySecret": SECRET}))
    without = {"OSS_ACCESS_KEY_ID": None, "OSS_ACCESS_KEY_SECRET": None}
    # The file's path is relative to the folder of the command, not of the daemon.
    with filled.mounted("--credentials", "keys.json", source=f"oss://{BUCKET}/folder", env=without) as mount:
        assert (mount.path / "file.txt").read_bytes() == b"hello"
        assert os.listdir(mount.path) == ["file.txt"]
        assert mount.status()["source"] == f"oss://{BUCKET}/folder"


def test_several_mounts_at_once(filled: Workshop) -> None:
    with filled.mounted(name="one") as one, filled.mounted(name="two") as two:
        assert os.listdir(one.path) == os.listdir(two.path) == ["folder"]
        listed = json.loads(filled.run("status", "--json").stdout)
        assert [status["mountpoint"] for status in listed] == [str(one.path), str(two.path)]
        assert {status["state"] for status in listed} == {"serving"}
        assert len(filled.run("status").stdout.splitlines()) == 2


@pytest.mark.parametrize(("number", "foreground"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_unmounts(filled: Workshop, number: signal.Signals, foreground: bool) -> None:
    with filled.mounted(foreground=foreground) as mount:
        pids = mount.status()["pids"]
        os.kill(mount.status()["daemon_pid"], number)
        eventually(lambda: not is_mounted(mount.path), "unmounted")
        if mount.process is not None:
            assert mount.process.wait(LIMIT) == 0
        eventually(lambda: gone(pids), "every process of the mount has ended")
        assert f"received {number.name}" in mount.log


def test_a_signal_that_was_ignored_at_the_start_unmounts_too(filled: Workshop) -> None:
    path = filled.mountpoint()
    words = filled.words(["mount", "--foreground", f"oss://{BUCKET}", str(path)])
    words[1] = "--ignore-signal=INT"
    log = filled.folder / "foreground-x.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(words, env=filled.environment, stdout=file, stderr=file)
    try:
        eventually(lambda: b"is mounted at" in log.read_bytes() or process.poll() is not None, "ready")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 0, log.read_text()
        assert not is_mounted(path)
    finally:
        process.kill()
        process.wait()
        if is_mounted(path):
            mounting.unmount(path, lazy=True)


def test_a_taken_mountpoint_keeps_its_mount_until_the_daemon_is_asked_to_stop(filled: Workshop) -> None:
    with filled.mounted() as mount:
        again = filled.run("mount", f"oss://{BUCKET}", str(mount.path))
        assert again.returncode == ExitCode.MOUNTPOINT
        assert "already mounted" in again.stderr
        assert os.listdir(mount.path) == ["folder"]
        record = json.loads(next((filled.folder / "state").glob("*.json")).read_text())
        assert ask(record["socket"], "stop", timeout=LIMIT) == {"pid": record["pid"]}
        eventually(lambda: gone([record["pid"]]), "the daemon has ended")
        assert not is_mounted(mount.path)


def test_a_mount_with_a_dead_daemon_can_be_told_and_taken_away(shop: Workshop) -> None:
    shop.server.store.put(BUCKET, b"file", b"hello")
    with shop.mounted("--no-keeper") as mount:
        pids = mount.status()["pids"]
        os.kill(mount.status()["daemon_pid"], signal.SIGKILL)
        eventually(lambda: gone(pids), "no process outlives the daemon")
        with pytest.raises(OSError):
            os.stat(mount.path / "file")
        done = shop.run("status", str(mount.path))
        assert done.returncode == ExitCode.NOT_MOUNTED
        assert "dead" in done.stdout and f"ossmount umount {mount.path}" in done.stdout
        again = shop.run("mount", f"oss://{BUCKET}", str(mount.path))
        assert (again.returncode, is_mounted(mount.path)) == (ExitCode.MOUNTPOINT, True)
        assert shop.run("umount", str(mount.path)).returncode == 0
        assert not is_mounted(mount.path)
        assert shop.run("status", "--json").stdout == "[]\n"


@pytest.fixture
def user_of_the_mount(filled: Workshop) -> Iterator[tuple[Workshop, Path, subprocess.Popen[bytes]]]:
    """A mount, and a process whose working folder it is."""
    with filled.mounted() as mount:
        process = subprocess.Popen(["sleep", "3600"], cwd=mount.path)
        try:
            yield filled, mount.path, process
        finally:
            process.kill()
            process.wait()


def test_a_busy_mount_stays_until_it_is_detached_lazily(
    user_of_the_mount: tuple[Workshop, Path, subprocess.Popen[bytes]],
) -> None:
    shop, path, process = user_of_the_mount
    done = shop.run("umount", str(path))
    assert done.returncode == ExitCode.BUSY
    assert f"sleep ({process.pid})" in done.stderr
    assert f"ossmount umount --lazy {path}" in done.stderr
    assert is_mounted(path)

    pid = json.loads(shop.run("status", str(path), "--json").stdout)["daemon_pid"]
    assert shop.run("umount", "--lazy", str(path)).returncode == 0
    assert not is_mounted(path)
    assert os.listdir(f"/proc/{process.pid}/cwd") == ["folder"]  # its user reads on
    process.kill()
    process.wait()
    eventually(lambda: gone([pid]), "the daemon ends with its last user")


def test_force_ends_the_daemon_of_a_busy_mount(user_of_the_mount: tuple[Workshop, Path, subprocess.Popen[bytes]]) -> None:
    shop, path, _ = user_of_the_mount
    pids = json.loads(shop.run("status", str(path), "--json").stdout)["pids"]
    assert shop.run("umount", "--force", str(path)).returncode == 0
    assert not is_mounted(path)
    eventually(lambda: gone(pids), "every process of the mount has ended")


@pytest.mark.option("fuse_fd")
def test_a_descriptor_that_was_passed_in_is_served(filled: Workshop) -> None:
    path = filled.mountpoint()
    mounted = mounting.mount(path, "passed", allow_other=False)
    os.set_inheritable(mounted.fd, True)
    words = filled.words(["mount", f"oss://{BUCKET}", str(path), "--fuse-fd", str(mounted.fd)])
    log = filled.folder / "foreground-0.log"
    try:
        with open(log, "wb") as file:
            process = subprocess.Popen(words, env=filled.environment, pass_fds=[mounted.fd], stdout=file, stderr=file)
        os.close(mounted.fd)
        assert process.wait(LIMIT) == 0, log.read_text()
        assert (path / "folder/file.txt").read_bytes() == b"hello"
        assert shop_status(filled, path)["options"]["fuse_fd"]["value"] == str(mounted.fd)
        assert filled.run("umount", str(path)).returncode == 0
    finally:
        if is_mounted(path):
            filled.run("umount", "--force", str(path))
        process.kill()
        process.wait()


def shop_status(shop: Workshop, path: Path) -> dict[str, dict[str, dict[str, str]]]:
    status: dict[str, dict[str, dict[str, str]]] = json.loads(shop.run("status", str(path), "--json").stdout)
    return status


# -- failures: each has its message and its exit code, and leaves nothing mounted

FAILURES: dict[str, tuple[list[str], dict[str, str | None], ExitCode, str]] = {
    "no such bucket": (["oss://missing-bucket"], {}, ExitCode.NO_BUCKET, "NoSuchBucket"),
    "missing prefix": (["oss://data/nothing/here"], {}, ExitCode.NO_PREFIX, "nothing/here"),
    "unknown key": (["oss://data"], {"OSS_ACCESS_KEY_ID": "wrong"}, ExitCode.REFUSED, "InvalidAccessKeyId"),
    "wrong secret": (["oss://data"], {"OSS_ACCESS_KEY_SECRET": "wrong"}, ExitCode.REFUSED, "SignatureDoesNotMatch"),
    "not allowed anonymously": (["oss://data", "--anonymous"], {}, ExitCode.REFUSED, "AccessDenied"),
    "endpoint that refuses": (["oss://data", "--endpoint", "http://127.0.0.1:1"], {}, ExitCode.UNREACHABLE, "127.0.0.1:1"),
    "no endpoint": (["oss://data"], {"OSSMOUNT_ENDPOINT": None}, ExitCode.USAGE, "no endpoint: give --endpoint"),
}


@pytest.fixture(scope="module")
def never_mounted() -> Iterator[Workshop]:
    with workshop() as shop:
        shop.server.store.put(BUCKET, b"folder/file.txt", b"hello")
        yield shop


@pytest.mark.parametrize(("name", "foreground"), [*((name, False) for name in FAILURES), ("no such bucket", True)])
def test_what_is_wrong_with_the_source(never_mounted: Workshop, name: str, foreground: bool) -> None:
    arguments, environment, code, message = FAILURES[name]
    path = never_mounted.mountpoint()
    done = never_mounted.run("mount", arguments[0], str(path), *arguments[1:], *["-f"] * foreground, env=environment)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not is_mounted(path)
    assert not list((never_mounted.folder / "state").glob("*.json"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.rmdir(), "mkdir -p"),
        (lambda path: (path.rmdir(), path.touch()), "not a directory"),
        (lambda path: (path / "something").touch(), "not empty"),
    ],
    ids=["missing", "not a directory", "not empty"],
)
def test_what_is_wrong_with_the_mountpoint(never_mounted: Workshop, make: object, message: str) -> None:
    path = never_mounted.mountpoint(message.replace(" ", "-"))
    assert callable(make)
    make(path)
    asked = len(never_mounted.server.requests)
    done = never_mounted.run("mount", f"oss://{BUCKET}", str(path))
    assert done.returncode == ExitCode.MOUNTPOINT, done.stderr
    assert message in done.stderr and str(path) in done.stderr
    assert not is_mounted(path)
    assert len(never_mounted.server.requests) == asked  # found out before OSS is asked


def test_without_dev_fuse(never_mounted: Workshop) -> None:
    path = never_mounted.mountpoint()
    words = never_mounted.words(["mount", f"oss://{BUCKET}", str(path)])
    hide = 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"'
    wrapped = ["/usr/bin/unshare", "--mount", "sh", "-c", hide, "sh", *words]
    done = subprocess.run(wrapped, env=never_mounted.environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == ExitCode.NO_FUSE, done.stderr
    assert "/dev/fuse is missing" in done.stderr


def test_without_fusermount3() -> None:
    with workshop("nobody") as shop:
        shop.server.store.put(BUCKET, b"file", b"hello")
        path = shop.mountpoint()
        done = shop.run("mount", f"oss://{BUCKET}", str(path), env={"PATH": "/nowhere"})
        assert done.returncode == ExitCode.NO_FUSE, done.stderr
        assert "fusermount3 is not installed" in done.stderr
        assert not is_mounted(path)


def test_interrupting_the_command_leaves_nothing_behind(filled: Workshop) -> None:
    filled.server.faults.add(Fault(operations=("LIST",), hang=True))
    path = filled.mountpoint()
    words = filled.words(["mount", f"oss://{BUCKET}", str(path)])
    process = subprocess.Popen(words, env=filled.environment, stderr=subprocess.PIPE)
    try:
        eventually(lambda: len(filled.server.requests) > 0 or process.poll() is not None, "OSS is asked")
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=LIMIT)
        assert (process.returncode, message) == (130, b"ossmount: interrupted\n")
        assert not is_mounted(path)
        assert filled.run("status").stdout == "nothing is mounted\n"
    finally:
        process.kill()
        process.wait()
