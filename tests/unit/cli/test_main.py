import os
import subprocess
import sys
from pathlib import Path

import pytest

from ossmount import __version__
from ossmount.cli import describe
from ossmount.cli import main as cli
from ossmount.exit_codes import MEANINGS, ExitCode
from ossmount.options.declarations import OPTIONS

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> int:
    """The exit code, also where argparse exits by itself."""
    try:
        return cli.main(arguments)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def test_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == ExitCode.OK
    text = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in text
    for code in ExitCode:
        assert f"\n  {int(code):<8} {MEANINGS[code]}" in text


def test_without_a_command_the_help_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == ExitCode.USAGE
    captured = capsys.readouterr()
    assert "usage" in captured.err
    assert captured.out == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == ExitCode.OK
    assert capsys.readouterr().out == f"ossmount {__version__}\n"


def test_help_of_mount_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mount", "--help") == ExitCode.OK
    words = " ".join(capsys.readouterr().out.split())
    for option in OPTIONS:
        assert option.flag in words
        assert " ".join(option.help.split())[:40].split(" ")[0] in words


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == ExitCode.OK
    assert f"usage: ossmount {name}" in capsys.readouterr().out


def test_every_option_and_argument_of_every_command_is_explained() -> None:
    for command in describe.commands():
        explained = {flag.names[-1]: flag.help for flag in command.flags} | {
            word.metavar: word.help for word in command.arguments
        }
        assert [name for name, text in explained.items() if not text] == [], command.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["moutn"], "unknown command moutn; did you mean mount?"),
        (["oss://bucket", "/mnt"], "oss://bucket is no command; to mount it: ossmount mount oss://bucket /mnt"),
        (["--vresion"], "unknown option --vresion; did you mean --version?"),
        (["mount"], "oss://BUCKET[/PREFIX] and MOUNTPOINT must be given, or --config FILE"),
        (["mount", "oss://bucket"], "MOUNTPOINT must be given"),
        (["umount"], "the following arguments are required"),
        (["mount", "oss://bucket", "/mnt", "--endpiont", "x"], "unknown option --endpiont; did you mean --endpoint?"),
        (["mount", "oss://bucket", "/mnt", "--end", "x"], "unknown option --end"),
        (["mount", "oss://bucket", "/mnt", "more"], "unknown argument more"),
        (["mount", "oss://bucket", "/mnt", "-o", "alow_other"], "did you mean allow_other?"),
        (["mount", "s3://bucket", "/mnt"], "write oss://BUCKET"),
        (["mount", "oss://bucket", "/mnt", "--umask", "9"], "--umask: '9' is not right: a umask is octal"),
        (["mount", "oss://bucket", "/mnt", "--open", "skip", "-o", "direct_io"], "contradicts"),
        (["mount", "oss://bucket", "/mnt", "--fuse-fd", "1000000"], "descriptor 1000000 is not open"),
        (["mount", "oss://bucket", "/mnt", "--fuse-fd", "2"], "--fuse-fd: descriptor 2 is not one of /dev/fuse"),
        (["umount", "--lazy", "--force", "/mnt"], "not allowed with"),
        (["config", "show", "--gvien"], "unknown option --gvien; did you mean --given?"),
        (["config", "shwo"], "invalid choice: 'shwo'"),
        (["status", "--jsn"], "did you mean --json?"),
    ],
)
def test_a_wrong_command_line_names_what_is_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_misspelled_variable_is_only_a_warning(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSSMOUNT_ALLOW_OTHERS", "1")
    assert run("mount", "nonsense", "/mnt") == ExitCode.USAGE
    assert "OSSMOUNT_ALLOW_OTHERS is unknown; did you mean OSSMOUNT_ALLOW_OTHER?" in capsys.readouterr().err


def test_secrets_are_no_options() -> None:
    assert not [
        option.name for option in OPTIONS if "secret" in option.name or "token" in option.name or "key_id" in option.name
    ]


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    environment = {**os.environ, "OSSMOUNT_STATE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "ossmount", "status"]
    done = subprocess.run(words, env=environment, stdout=write_end, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["status", "umount"])
def test_quick_commands_import_nothing_heavy(command: str, tmp_path: Path) -> None:
    code = (
        "import sys; from ossmount.cli.main import main\n"
        f"main([{command!r}] + ['/nowhere/at/all'] * ({command!r} == 'umount'))\n"
        "print([name for name in ('trio', 'oss2', 'requests', 'lmdb', 'pyfuse3', 'uvicorn', 'asyncio') if name in sys.modules])"
    )
    environment = {**os.environ, "OSSMOUNT_STATE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_mount_imports_nothing_heavy_before_it_starts_the_daemon() -> None:
    """Else both would, one after the other: trio alone takes 70 ms."""
    code = (
        "import sys, ossmount.cli.mount, ossmount.daemon.background\n"
        "print([name for name in ('trio', 'oss2', 'requests', 'lmdb', 'pyfuse3', 'asyncio') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
