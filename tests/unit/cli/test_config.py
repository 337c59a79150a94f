from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ossmount.cli import main as cli
from ossmount.exit_codes import ExitCode
from ossmount.options.declarations import OPTIONS


@pytest.fixture(autouse=True)
def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS:
        for variable in (option.variable, *option.variables):
            monkeypatch.delenv(variable, raising=False)


def test_show_tells_every_value_and_where_it_comes_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "mount.toml"
    config.write_text('umask = "027"\nprofile = "fresh"\n')
    config.chmod(0o644)
    monkeypatch.setenv("OSSMOUNT_GID", "8")
    words = ["config", "show", "--config", str(config), "--uid", "7", "-o", "allow_other", "--proxy", "http://me:hunter2@p:1"]
    assert cli.main(words) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(OPTIONS)
    for line in (
        "uid = 7  (--uid)",
        "allow_other = true  (-o allow_other)",
        "gid = 8  (OSSMOUNT_GID)",
        f"umask = 027  ({config}:1)",
        "attr_timeout = 0  (profile fresh)",
        "timeout = 60  (default)",
        "fetch_workers = by the number of cores  (default)",
        "proxy = http://***@p:1  (--proxy)",
    ):
        assert line in lines
    assert cli.main([*words, "--json", "--given"]) == ExitCode.OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["umask"] == {"value": "027", "origin": f"{config}:1"}
    assert "timeout" not in shown


def test_show_tells_everything_that_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "show", "--umask", "9", "-o", "uid=x"]) == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_check_names_each_problem_with_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "mount.toml"
    config.write_text('uid = "me"\nopen = "skip"\ndirect_io = true\nprofil = "x"\n')
    config.chmod(0o644)
    assert cli.main(["config", "check", str(config)]) == ExitCode.USAGE
    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix(str(config))[:3] for line in lines] == [":1:", ":4:", ": o"]
    assert "contradicts" in lines[2]
    assert cli.main(["config", "check", str(config), "--json"]) == ExitCode.USAGE
    assert [problem["line"] for problem in json.loads(capsys.readouterr().out)["problems"]] == [1, 4, 0]
    config.write_text("uid = 1\n")
    assert cli.main(["config", "check", str(config)]) == ExitCode.OK
    assert capsys.readouterr().out == f"{config}: good; it sets uid\n"


def test_init_writes_a_good_file_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "new" / "mount.toml"
    words = ["config", "init", str(config), "--source", "oss://bucket", "--mountpoint", "/mnt/x", "--profile", "training"]
    assert cli.main([*words, "-o", "allow_other,umask=027"]) == ExitCode.OK
    capsys.readouterr()
    text = config.read_text()
    for line in (
        'source = "oss://bucket"',
        'mountpoint = "/mnt/x"',
        'profile = "training"',
        "allow_other = true",
        'umask = "027"',
    ):
        assert f"\n{line}\n" in text
    assert "\n#attr_timeout = 60\n" in text
    assert cli.main(["config", "check", str(config)]) == ExitCode.OK
    assert cli.main(words) == ExitCode.USAGE
    assert "is there already" in capsys.readouterr().err
    assert config.read_text() == text


def test_import_prints_a_file_and_tells_what_it_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "jindo.json"
    path.write_text('{"fs.jindo.args": "-oattr_timeout=0-oentry_timeout=0", "fs.oss.append.enable": "true"}')
    assert cli.main(["config", "import", str(path)]) == ExitCode.OK
    captured = capsys.readouterr()
    assert "attr_timeout = 0\nentry_timeout = 0\n" in captured.out and captured.err == ""
    assert "# without effect: fs.oss.append.enable = true: nothing is written" in captured.out
    monkeypatch.setattr("sys.stdin", io.StringIO("--oss_access_key_secret=hunter2\n--attr_timeout=1\n"))
    assert cli.main(["config", "import", "-", "--json"]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert json.loads(captured.out)["options"] == {"attr_timeout": "1", "entry_timeout": "1"}
    assert "oss_access_key_secret was not taken over: access keys are no options" in captured.err
    assert "hunter2" not in captured.out + captured.err


def test_show_warns_of_what_a_mount_would_not_notice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSSMOUNT_ENDPIONT", "x")
    assert cli.main(["config", "show", "-o", "readdirplus=false"]) == ExitCode.OK
    said = capsys.readouterr().err
    assert "OSSMOUNT_ENDPIONT is unknown; did you mean OSSMOUNT_ENDPOINT?" in said and "-o readdirplus has no effect" in said
