"""`python -m benchmarks` as a user runs it; above all, that nothing is left when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as command_line
from benchmarks import processes, quick
from benchmarks.processes import CHECKOUT, end, own_environment, wait_until

LIMIT = 90.0  # seconds; only against hanging


def start(cache: Path, scratch: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--tiny", "--cache", str(cache), *arguments],
        env={**own_environment(), "TMPDIR": str(scratch)},
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def mounted_below(folder: Path) -> bool:
    return f" {folder}/" in Path("/proc/self/mountinfo").read_text()


def processes_of(folder: Path) -> list[int]:
    """Everything that was started with this folder as its TMPDIR."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"TMPDIR={folder}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone meanwhile, or another user's
            continue
    return found


@pytest.mark.parametrize(
    ("number", "peer"), [(signal.SIGINT, "rclone"), (signal.SIGTERM, "rclone"), (signal.SIGINT, "ossmount")]
)
def test_an_interrupted_run_leaves_nothing(bench_cache: Path, short_folder: Path, number: signal.Signals, peer: str) -> None:
    """Interrupted while a peer is mounted, whatever it does at that moment; also if SIGINT was ignored by the starter."""
    results = str(short_folder / "results.json")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        bench = start(bench_cache, short_folder, "--scenario", "epoch", "--peer", peer, "--rounds", "100", "--json", results)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        wait_until(lambda: bench.poll() is not None or mounted_below(short_folder), LIMIT, "nothing was mounted")
        bench.send_signal(number)
        output, _ = bench.communicate(timeout=LIMIT)
        assert b"interrupted: everything is unmounted and ended" in output, output.decode()
        assert bench.returncode == 130
        assert not mounted_below(short_folder)
        wait_until(lambda: processes_of(short_folder) == [], LIMIT, "processes are left")
        assert [path.name for path in short_folder.iterdir() if path.name != "results.json"] == []
    finally:
        end(bench)


def test_a_whole_run_prints_tables_and_ends_well(bench_cache: Path, short_folder: Path) -> None:
    results = short_folder / "results.json"
    bench = start(
        bench_cache, short_folder, "--scenario", "ttfb,walk", "--peer", "raw,local", "--rounds", "1", "--json", str(results)
    )
    try:
        output, _ = bench.communicate(timeout=LIMIT)
    finally:
        end(bench)
    assert bench.returncode == 0, output.decode()
    assert b"Network none: medians" in output and b"Network region: medians" in output
    assert b"walk cold" in output and f"Results: {results}".encode() in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "walk,dance"], "--scenario dance: unknown; there are mount-time"),
        (["--peer", "nobody"], "--peer nobody: unknown"),
        (["--latency", "far"], "--latency far"),
        (["--rounds", "0"], "--rounds 0"),
        (["--endpoint", "http://127.0.0.1"], "--endpoint and --bucket"),
        (["--peer-command", "x=prog"], "--peer-command 'x=prog'"),
        (["report"], "name at least one result file"),
        (["report", "/nonexistent.json"], "/nonexistent.json is no result"),
    ],
)
def test_bad_options_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], unchanged_signals: None
) -> None:
    assert command_line.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_list_shows_everything_that_can_be_named(capsys: pytest.CaptureFixture[str], unchanged_signals: None) -> None:
    assert command_line.main(["list"]) == 0
    shown = capsys.readouterr().out
    for name in ("epoch", "lmdb-get", "ossmount-pyfuse3", "rclone-tuned", "s3fs", "raw", "local", "region: 15 ms per object"):
        assert name in shown


def test_quick_is_small_and_has_rivals_and_limits() -> None:
    arguments = command_line.own_parser().parse_args(["quick"])
    settings = quick.settings(arguments, command_line.settings_of)
    assert settings.scale.name == "quick" and settings.rounds == 1
    assert [peer.name for peer in settings.peers] == ["ossmount", "rclone-tuned", "null", "raw", "local"]


@pytest.fixture
def unchanged_signals() -> Iterator[None]:
    """main() sets its own handlers: they must not stay with the test runner."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_processes_that_ignore_sigterm_are_killed() -> None:
    command = ["sh", "-c", "trap '' TERM; echo up; sleep 600; true"]
    stubborn = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert stubborn.stdout is not None and stubborn.stdout.readline() == b"up\n"
    end(stubborn, grace=0.2)
    assert stubborn.returncode == -signal.SIGKILL


def test_descendants_are_found_through_the_process_table() -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 600 & echo up; wait"], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        assert len(processes.descendants([child.pid])) == 2
        assert child.pid in processes.descendants([os.getpid()])
    finally:
        end(child)
    assert processes.descendants([child.pid]) == []
