"""`ossmount metadata` and mounts that take over what it wrote."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ossmount.channel.mounting import find_mount
from ossmount.cli import main as cli
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, Workshop

KEYS = [b"a", b"a-x", b"a/b", b"train/1", b"train/2/x", *(b"large/%04d" % i for i in range(1_500))]


def tree(path: Path) -> set[str]:
    return {os.path.relpath(os.path.join(folder, name), path) for folder, _, names in os.walk(path) for name in names}


@pytest.fixture
def filled(plain_shop: Workshop) -> Workshop:
    for key in KEYS:
        plain_shop.server.store.put(BUCKET, key, key)
    return plain_shop


def elsewhere(shop: Workshop, name: str) -> dict[str, str | None]:
    """The environment of another machine: it knows nothing yet."""
    return {"OSSMOUNT_METADATA_DIR": str(shop.folder / name)}


@pytest.fixture
def command(
    filled: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process: its exit code and what it says."""
    for name, value in filled.environment.items():
        if name.startswith("OSS"):
            monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


Run = Callable[..., tuple[int, str, str]]


def listings(shop: Workshop) -> int:
    return sum("list-type" in request.query for request in shop.server.requests)


def test_one_machine_lists_and_another_mounts_without_a_listing(filled: Workshop) -> None:
    file = filled.folder / "snapshot"
    done = filled.run("metadata", "export", f"oss://{BUCKET}", str(file))
    assert done.returncode == 0, done.stderr
    assert f"{len(KEYS):,} keys" in done.stdout
    assert f"{len(KEYS):,} keys" in filled.run("metadata", "info", str(file)).stdout
    with filled.mounted() as mount:
        wanted = tree(mount.path)
        assert len(wanted) == len(KEYS)
    before = listings(filled)
    for name in ("other", "other", "third"):
        with filled.mounted("--metadata-snapshot", str(file), env=elsewhere(filled, name)) as mount:
            assert tree(mount.path) == wanted
            assert not (mount.path / "large/9999").exists()
            assert (mount.path / "large/0007").read_bytes() == b"large/0007"
    assert listings(filled) == before + 3  # the check of each mount


def test_import_then_mount(filled: Workshop) -> None:
    file = filled.folder / "snapshot"
    assert filled.run("metadata", "export", f"oss://{BUCKET}", str(file)).returncode == 0
    env = elsewhere(filled, "other")
    for said in (f"{len(KEYS):,} keys taken over\n", "this store has it already\n"):
        done = filled.run("metadata", "import", str(file), env=env)
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    before = listings(filled)
    with filled.mounted("-o", "metadata_ttl=inf", env=env) as mount:
        assert len(tree(mount.path)) == len(KEYS)
    assert listings(filled) == before + 1


def test_a_mount_can_be_exported_once_everything_was_listed(filled: Workshop) -> None:
    file = filled.folder / "snapshot"
    with filled.mounted() as mount:
        os.stat(mount.path / "large/0500")
        done = filled.run("metadata", "export", str(mount.path), str(file))
        assert done.returncode == ExitCode.BAD_SNAPSHOT
        assert "ossmount metadata build" in done.stderr
        assert not file.exists()
        tree(mount.path)
        assert filled.run("metadata", "export", str(mount.path), str(file)).returncode == 0
    assert f"{len(KEYS):,} keys" in filled.run("metadata", "info", str(file)).stdout


def test_a_manifest_is_mounted_and_nothing_else(filled: Workshop) -> None:
    file = filled.folder / "list"
    file.write_text("large/0003\n{'data': {'source': 'oss://data.oss-cn-x.aliyuncs.com/train/2/x'}}\na/missing\noss://data/a\n")
    with filled.mounted("--manifest", str(file)) as mount:
        assert tree(mount.path) == {"large/0003", "train/2/x", "a"}
        assert (mount.path / "train/2/x").read_bytes() == b"train/2/x"
        assert not (mount.path / "large/0004").exists()
        with filled.mounted(name="whole") as whole:
            assert len(tree(whole.path)) == len(KEYS)
    file.write_text("oss://elsewhere/a\n")
    done = filled.run("mount", f"oss://{BUCKET}", str(filled.mountpoint()), "--manifest", str(file))
    assert done.returncode == ExitCode.BAD_SNAPSHOT
    assert "names the bucket 'elsewhere'" in done.stderr


@pytest.mark.parametrize(
    ("damage", "source", "said"),
    [
        (lambda data: data[:-1], BUCKET, "damaged"),
        (lambda data: data[:600] + b"?" + data[601:], BUCKET, "damaged"),
        (lambda data: b"# a text", BUCKET, "no metadata snapshot"),
        (lambda data: data, "another", "is a snapshot of oss://data"),
    ],
)
def test_a_damaged_or_foreign_snapshot_is_refused(
    filled: Workshop, command: Run, damage: Callable[[bytes], bytes], source: str, said: str
) -> None:
    file = filled.folder / "snapshot"
    filled.server.store.create_bucket("another")
    assert command("metadata", "export", f"oss://{BUCKET}", str(file))[0] == 0
    file.write_bytes(damage(file.read_bytes()))
    code, _, error = command("metadata", "import", str(file), f"oss://{source}")
    assert (code, said in error) == (ExitCode.BAD_SNAPSHOT, True), error
    done = filled.run("mount", f"oss://{source}", str(filled.mountpoint()), "--metadata-snapshot", str(file))
    assert done.returncode == ExitCode.BAD_SNAPSHOT, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert find_mount(str(filled.mountpoint())) is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("build", "oss://absent"), ExitCode.NO_BUCKET, "NoSuchBucket"),
        (("build", f"oss://{BUCKET}/none/"), ExitCode.NO_PREFIX, "none/"),
        (("build", BUCKET), ExitCode.USAGE, "oss://BUCKET"),
        (("export", "/nowhere", "file"), ExitCode.NOT_MOUNTED, "/nowhere"),
        (("export", f"oss://{BUCKET}", "/tmp"), ExitCode.USAGE, "is a folder"),
        (("export", f"oss://{BUCKET}", "/nowhere/file"), ExitCode.UNEXPECTED, "No such file"),
        (("import", "/nowhere"), ExitCode.BAD_SNAPSHOT, "/nowhere"),
        (("build", f"oss://{BUCKET}", "--endpoint", "http://127.0.0.1:1"), ExitCode.UNREACHABLE, "127.0.0.1:1"),
    ],
)
def test_what_goes_wrong_is_said(command: Run, arguments: tuple[str, ...], code: ExitCode, said: str) -> None:
    ended, _, error = command("metadata", *arguments)
    assert (ended, said in error) == (code, True), error
