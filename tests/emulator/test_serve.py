"""ossmount serve, as a process."""

from __future__ import annotations

import argparse
import http.client
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import oss2
import pytest

from ossmount.cli import serve

LIMIT = 60.0  # seconds, against hangs only

# Signals as in a terminal, whatever the test run was started with.
_LAUNCHER = """
import argparse, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
from ossmount.cli import serve
parser = argparse.ArgumentParser(prog="ossmount serve")
serve.add_arguments(parser)
sys.exit(serve.run(parser.parse_args()))
"""

Start = Callable[..., "tuple[subprocess.Popen[str], str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a server and waits for its line: the process and the URL."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-c", _LAUNCHER, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        return process, found[0] if found else ""

    yield run
    for process in processes:
        process.kill()
        process.communicate(timeout=LIMIT)


def get(url: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=LIMIT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_serves_until_it_is_told_to_stop(start: Start, tmp_path: Path, session: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process, url = start(str(tmp_path), "--port", "0", "--access-key-id", "id", "--access-key-secret", "secret")
        bucket = oss2.Bucket(oss2.Auth("id", "secret"), url, "bucket", session=session)
        bucket.create_bucket()
        bucket.put_object(number.name, b"data")
        assert get(url, f"/bucket/{number.name}")[0] == 403
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT)
        assert (process.returncode, out, err) == (0, "", "")


def test_what_was_stored_survives_a_kill(start: Start, tmp_path: Path, session: object) -> None:
    process, url = start(str(tmp_path), "--port", "0", "--anonymous")
    bucket = oss2.Bucket(oss2.Auth("test-id", "test-secret"), url, "bucket", session=session)
    bucket.create_bucket()
    for number in range(20):
        bucket.put_object(f"key {number}", b"%d" % number)
    process.kill()
    process.wait(LIMIT)
    _, url = start(str(tmp_path), "--port", "0", "--anonymous")
    assert get(url, "/bucket/key%2019") == (200, b"19")
    assert get(url, "/bucket?list-type=2")[1].count(b"<Contents>") == 20


def test_a_plain_folder(start: Start, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").write_bytes(b"cat")
    _, url = start(str(tmp_path), "--port", "0", "--anonymous", "--plain")
    assert get(url, "/photos/cat") == (200, b"cat")


def test_a_port_that_is_taken(start: Start, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process, _ = start(str(tmp_path), "--port", str(port))
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert err == f"ossmount serve: cannot serve {tmp_path} at 127.0.0.1:{port}: Address already in use\n"


def test_a_folder_that_cannot_be_served(start: Start, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").write_bytes(b"cat")
    process, _ = start(str(tmp_path), "--port", "0")
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1 and "--plain" in err and "Traceback" not in err
    process, _ = start(str(tmp_path / "missing"), "--port", "0", "--plain")
    _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (1, f"ossmount serve: {tmp_path / 'missing'} is not a folder\n")


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["folder", f"--port={port}"])
    assert "is not a port" in capsys.readouterr().err


def test_the_defaults() -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    args = parser.parse_args(["folder"])
    assert (args.host, args.port, args.anonymous, args.plain) == ("127.0.0.1", 9000, False, False)
