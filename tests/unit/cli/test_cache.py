from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ossmount.cli.main import main
from ossmount.data.disk import store
from ossmount.data.disk.keeper import prepare, root_of
from ossmount.data.disk.layout import SUFFIXES, Label, name_of, path_of
from ossmount.data.disk.pieces import Pieces
from ossmount.exit_codes import ExitCode
from ossmount.model import Version

MIB = 1 << 20
STORE = "oss.example.com/bucket"


def save(folder: Path, key: bytes, size: int, used: int, length: int | None = None) -> Path:
    """An object of which the first bytes are cached, used so many seconds after the beginning; the file with its bytes."""
    prepare(str(folder))
    version = Version(key, "etag", size)
    name = name_of(STORE, version)
    data = memoryview(bytearray(b"x" * (size if length is None else length)))
    label = Label(STORE, key, "etag").pack()
    store.save(root_of(str(folder)), name, label, size, 0, Pieces(data, [(0, len(data))]))
    paths = [Path(path_of(root_of(str(folder)), name, suffix)) for suffix in SUFFIXES]
    there = [path for path in paths if path.exists()]
    for path in there:
        os.utime(path, (0, 1_000_000 + used))
    return there[-1]


def cache(capsys: pytest.CaptureFixture[str], *words: str, code: int = ExitCode.OK) -> Any:
    """The JSON that `ossmount cache` prints."""
    assert main(["cache", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def keys(capsys: pytest.CaptureFixture[str], where: str) -> list[str]:
    return sorted(line["key"] for line in cache(capsys, "ls", "--cache-dir", where))


@pytest.fixture
def where(tmp_path: Path) -> str:
    """Two cache folders."""
    save(tmp_path / "a", b"small", 5000, used=3)
    save(tmp_path / "a", "größe\n".encode(), MIB, used=1)
    save(tmp_path / "b", b"large", 8 * MIB, used=2, length=2 * MIB)
    return f"{tmp_path / 'a'}:{tmp_path / 'b'}"


def test_ls_and_usage(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = {line["key"]: line for line in cache(capsys, "ls", "--cache-dir", where)}
    assert found.keys() == {"small", "größe\n", "large"}
    assert found["large"]["size"] == 8 * MIB and 2 * MIB <= found["large"]["disk"] < 3 * MIB
    assert found["small"]["used"] == 1_000_003 and found["small"]["store"] == STORE and found["small"]["etag"] == "etag"
    usage = cache(capsys, "usage", "--cache-dir", where)
    assert [one["objects"] for one in usage] == [2, 1]
    assert main(["cache", "ls", "--cache-dir", where]) == ExitCode.OK
    assert f"{STORE}/small" in capsys.readouterr().out
    assert main(["cache", "usage", "--cache-dir", where]) == ExitCode.OK
    assert "2 objects" in capsys.readouterr().out


def test_the_folder_of_the_environment(where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSSMOUNT_CACHE_DIR", where)
    assert len(cache(capsys, "usage")) == 2


def test_verify_drops_what_is_damaged_and_keeps_the_rest(
    where: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cache(capsys, "verify", "--cache-dir", where) == {
        "objects": 3,
        "bytes": 5000 + 3 * MIB,
        "bad_blocks": 0,
        "dropped": 0,
    }
    small = save(tmp_path / "a", b"small", 5000, used=3)
    large = save(tmp_path / "b", b"large", 8 * MIB, used=2, length=2 * MIB)
    torn = save(tmp_path / "b", b"torn", 5000, used=2)
    os.truncate(torn, 4000)
    os.utime(torn, (0, 1_000_000))
    for path in (small, large):
        with open(path, "r+b") as file:
            file.seek(4000)
            file.write(b"y")
    found = cache(capsys, "verify", "--cache-dir", where, code=ExitCode.UNEXPECTED)
    assert found == {"objects": 4, "bytes": 3 * MIB - 4096, "bad_blocks": 2, "dropped": 2}
    assert keys(capsys, where) == ["größe\n", "large"]
    assert cache(capsys, "verify", "--cache-dir", where)["bad_blocks"] == 0


def test_prune_drops_the_least_recently_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        save(tmp_path, b"%d" % number, MIB, used=number)
    limits = ["--cache-size", "16M", "--cache-free-space", "0"]
    assert cache(capsys, "prune", "--cache-dir", str(tmp_path), *limits)["objects"] == 5
    assert keys(capsys, str(tmp_path)) == sorted(str(number) for number in range(5, 20))
    assert cache(capsys, "prune", "--cache-dir", str(tmp_path), *limits)["objects"] == 0


def test_clear(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cache(capsys, "clear", "--cache-dir", where)["objects"] == 3
    assert keys(capsys, where) == []


def test_a_folder_that_was_never_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("ls", "verify", "prune", "clear", "usage"):
        cache(capsys, action, "--cache-dir", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ls"], "Give --cache-dir"),
        (["ls", "--cache-dir", "/nowhere/at/all"], "there is no folder /nowhere/at/all"),
        (["prune", "--cache-dir", "/tmp", "--cache-size", "much"], "--cache-size: 'much' is not right"),
        (["prune", "--cache-dir", "/tmp", "--cache-free-space", "100"], "a percentage from 0 to 99"),
        (["ls", "--cache-dir", "/tmp:/tmp"], "stands there twice"),
    ],
)
def test_what_is_wrong(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", *words]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_an_unknown_action(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["cache", "cleer"])
    assert end.value.code == ExitCode.USAGE
    assert "cleer" in capsys.readouterr().err
