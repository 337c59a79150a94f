"""`ossmount metadata` and mounts that take over what it wrote."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ossmount.channel.mounting import find_mount
from ossmount.cli import main as cli
from ossmount.emulator.faults import Fault
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, Workshop

KEYS = [b"a", b"a-x", b"a/b", b"train/1", b"train/2/x", *(b"large/%04d" % i for i in range(1_500))]


def tree(path: Path) -> set[str]:
    return {os.path.relpath(os.path.join(folder, name), path) for folder, _, names in os.walk(path) for name in names}


@pytest.fixture
def filled(plain_shop: Workshop) -> Workshop:
    plain_shop.server.store.put_many(BUCKET, KEYS, b"one of many")  # a tenth of the time of as many put()
    for key in {*KEYS[:6], b"large/0007"}:
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


@pytest.mark.option("metadata_snapshot")
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


@pytest.fixture
def place(filled: Workshop) -> str:
    """Where a snapshot may lie in OSS: another bucket, so that it is not part of what is mounted."""
    filled.server.store.create_bucket("kept")
    return "oss://kept/snapshots/é data"


KEPT = "snapshots/é data".encode()


def gets(shop: Workshop) -> list[int]:
    return [request.sent for request in shop.server.requests if request.method == "GET" and request.key == KEPT]


def test_a_snapshot_may_lie_in_oss(filled: Workshop, place: str) -> None:
    with filled.mounted() as mount:
        wanted = tree(mount.path)
        done = filled.run("metadata", "export", str(mount.path), place, env={"OSSMOUNT_ENDPOINT": None})
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{place}: oss://{BUCKET} at http://" in done.stdout
        assert f"{len(KEYS):,} keys, {len(filled.server.store.get('kept', KEPT) or b''):,} bytes" in done.stdout
    told = filled.run("metadata", "info", place)
    assert (told.returncode, told.stdout) == (0, done.stdout)
    filled.server.requests.clear()
    for times in (1, 2):
        with filled.mounted("--metadata-snapshot", place, env=elsewhere(filled, "other")) as mount:
            assert tree(mount.path) == wanted
            assert (mount.path / "large/0007").read_bytes() == b"large/0007"
        assert listings(filled) == times  # the check of each mount
    assert len(gets(filled)) == 3  # its beginning twice, all of it once: the second mount has it already
    done = filled.run("metadata", "import", place, env=elsewhere(filled, "third"))
    assert (done.returncode, done.stdout) == (0, f"{len(KEYS):,} keys taken over\n")
    assert not list(filled.folder.glob("*/*partial*"))


def test_a_source_can_be_exported_to_oss(filled: Workshop, place: str) -> None:
    done = filled.run("metadata", "export", f"oss://{BUCKET}/train", place, "--region", "cn-hangzhou")
    assert done.returncode == 0, done.stderr
    with filled.mounted("--metadata-snapshot", place, source=f"oss://{BUCKET}/train", env=elsewhere(filled, "other")) as mount:
        assert tree(mount.path) == {"1", "2/x"}


@pytest.mark.parametrize(
    ("damage", "source", "said"),
    [
        (lambda data: data[:-1], BUCKET, "damaged"),
        (lambda data: data[:600] + b"?" + data[601:], BUCKET, "damaged"),
        (lambda data: b"# a text", BUCKET, "no metadata snapshot"),
        (lambda data: b"", BUCKET, "no metadata snapshot"),
        (lambda data: data, "another", "is a snapshot of oss://data"),
    ],
)
def test_a_damaged_or_foreign_snapshot_in_oss_is_refused(
    filled: Workshop, command: Run, place: str, damage: Callable[[bytes], bytes], source: str, said: str
) -> None:
    filled.server.store.create_bucket("another")
    assert command("metadata", "export", f"oss://{BUCKET}", place)[0] == 0
    filled.server.store.put("kept", KEPT, damage(filled.server.store.get("kept", KEPT) or b""))
    code, _, error = command("metadata", "import", place, f"oss://{source}")
    assert (code, said in error, place in error) == (ExitCode.BAD_SNAPSHOT, True, True), error
    done = filled.run("mount", f"oss://{source}", str(filled.mountpoint()), "--metadata-snapshot", place)
    assert done.returncode == ExitCode.BAD_SNAPSHOT, done.stderr
    assert said in done.stderr and place in done.stderr
    assert "Traceback" not in done.stderr
    assert find_mount(str(filled.mountpoint())) is None


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (Fault(operations=("GetObject",), keys="snapshots/*", code="AccessDenied"), ExitCode.REFUSED, "AccessDenied"),
        (Fault(operations=("GetObject",), keys="snapshots/*", reset_after=700), ExitCode.UNREACHABLE, "GET snapshots/"),
        (Fault(operations=("GetObject",), keys="snapshots/*", hang=True), ExitCode.UNREACHABLE, "--timeout"),
        (Fault(operations=("GetObject",), keys="snapshots/*", corrupt_at=600), ExitCode.BAD_SNAPSHOT, "checksum"),
    ],
    ids=["refused", "reset", "hangs", "corrupt"],
)
def test_a_snapshot_that_cannot_be_received_ends_the_mount(
    filled: Workshop, command: Run, place: str, fault: Fault, code: ExitCode, said: str
) -> None:
    assert command("metadata", "export", f"oss://{BUCKET}", place)[0] == 0
    filled.server.faults.add(fault)
    few = ("--timeout", "1")
    done = filled.run("mount", f"oss://{BUCKET}", str(filled.mountpoint()), "--metadata-snapshot", place, *few)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
    assert find_mount(str(filled.mountpoint())) is None
    for words in (("info", place), ("import", place)):
        ended, _, error = command("metadata", *words, *few)
        assert (ended, said in error) == (code, True), error


def test_an_export_that_oss_refuses_leaves_the_old_one(filled: Workshop, command: Run, place: str) -> None:
    assert command("metadata", "export", f"oss://{BUCKET}", place)[0] == 0
    before = filled.server.store.get("kept", KEPT)
    filled.server.faults.add(Fault(operations=("PUT",), code="AccessDenied"))
    code, _, error = command("metadata", "export", f"oss://{BUCKET}", place)
    assert (code, "AccessDenied" in error) == (ExitCode.REFUSED, True), error
    assert filled.server.store.get("kept", KEPT) == before


def test_a_mount_of_a_list_is_not_exported(filled: Workshop) -> None:
    """It would be taken for all of the bucket."""
    listed = filled.folder / "list"
    listed.write_text("train/1\n")
    with filled.mounted("--manifest", str(listed)) as mount:
        assert tree(mount.path) == {"train/1"}
        done = filled.run("metadata", "export", str(mount.path), str(filled.folder / "file"))
    assert (done.returncode, "shows the keys of" in done.stderr) == (ExitCode.USAGE, True), done.stderr


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


@pytest.mark.option("manifest")
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
    assert "names the bucket 'elsewhere'" in done.stderr and "mount oss://elsewhere" in done.stderr


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
        (("import", f"oss://{BUCKET}/none"), ExitCode.BAD_SNAPSHOT, f"oss://{BUCKET}/none cannot be read"),
        (("info", "oss://absent/x"), ExitCode.NO_BUCKET, "NoSuchBucket"),
        (("info", "oss://absent.oss-cn-x.aliyuncs.com/x"), ExitCode.USAGE, "--endpoint oss-cn-x.aliyuncs.com"),
        (("export", f"oss://{BUCKET}", "oss://absent/x"), ExitCode.NO_BUCKET, "NoSuchBucket"),
        (("export", f"oss://{BUCKET}", f"oss://{BUCKET}/folder/"), ExitCode.USAGE, "name one object"),
        (("export", f"oss://{BUCKET}", "s3://x/y"), ExitCode.USAGE, "oss://BUCKET/KEY"),
        (
            ("export", f"oss://{BUCKET}", "oss://other/x", "--endpoint", f"http://{BUCKET}.example.com"),
            ExitCode.USAGE,
            f"leads to the bucket {BUCKET} only",
        ),
        (("build", f"oss://{BUCKET}", "--endpoint", "http://127.0.0.1:1"), ExitCode.UNREACHABLE, "127.0.0.1:1"),
    ],
)
def test_what_goes_wrong_is_said(command: Run, arguments: tuple[str, ...], code: ExitCode, said: str) -> None:
    ended, _, error = command("metadata", *arguments)
    assert (ended, said in error) == (code, True), error
