"""The slow log, traces, and what is known of one file, of real mounts."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from ossmount.emulator.faults import Fault
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, LIMIT, Workshop, eventually

SOURCE = f"oss://{BUCKET}/data"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.option("slow_log", "slow_threshold")
def test_slow_operations_are_logged_with_where_their_time_went(plain_shop: Workshop) -> None:
    for name in (b"slow", b"quick"):
        plain_shop.server.store.put(BUCKET, b"data/" + name, os.urandom(50_000))
    log = plain_shop.folder / "slow.jsonl"
    with plain_shop.mounted("--slow-log", str(log), "--slow-threshold", "400ms", source=SOURCE) as mount:
        plain_shop.server.faults.add(Fault(keys="data/slow", operations=("GET",), latency=0.6))
        plain_shop.server.faults.add(Fault(keys="data/quick", operations=("GET",), latency=0.15))
        (mount.path / "quick").read_bytes()  # slow by default, and not for this mount
        (mount.path / "slow").read_bytes()

        def told(operation: str) -> list[dict[str, Any]]:
            return [line for line in lines_of(log) if (line["operation"], line["path"]) == (operation, "slow")]

        eventually(lambda: told("READ"), "the lines are written")
        (get,), (read,) = told("GET"), told("READ")
        assert not [
            line for line in lines_of(log) if line["operation"] == "GET" and line["path"] == "quick" and line["ms"] < 400
        ]
        assert get["where"]["network"] >= 500 and get["tries"] == 1
        assert (read["offset"], read["errno"]) == (0, "")
        assert read["ms"] >= 600 and read["where"]["network"] >= 500
        assert mount.status()["facts"]["slow_log"]["lines"] >= 2
        assert log.stat().st_mode & 0o777 == 0o600
    refused = plain_shop.run("mount", SOURCE, str(plain_shop.mountpoint()), "--slow-log", str(plain_shop.folder / "no" / "x"))
    assert refused.returncode == ExitCode.USAGE and "--slow-log" in refused.stderr


def test_a_trace_shows_every_request_while_it_lasts(plain_shop: Workshop) -> None:
    names = [f"file {number}" for number in range(20)]
    for name in names:
        plain_shop.server.store.put(BUCKET, f"data/folder/{name}".encode(), b"x" * 100)
    with plain_shop.mounted(source=SOURCE) as mount:
        words = plain_shop.words(["trace", str(mount.path)])
        trace = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=plain_shop.environment)
        seen: list[dict[str, Any]] = []
        try:
            assert trace.stdout is not None
            output = trace.stdout
            gather = threading.Thread(target=lambda: seen.extend(json.loads(line) for line in output), daemon=True)
            gather.start()

            def heard() -> bool:
                os.path.lexists(mount.path / "folder" / "nothing")
                return bool(seen)

            eventually(heard, "the trace has begun")
            for name in names:
                assert (mount.path / "folder" / name).read_bytes() == b"x" * 100

            def reads() -> list[str]:
                return [each["path"] for each in seen if each["operation"] == "READ" and not each["errno"]]

            eventually(lambda: len(reads()) == len(names), "every READ is shown")
            assert reads() == [f"folder/{name}" for name in names]
            assert any(each["path"] == "folder/nothing" and each["operation"] == "LOOKUP" for each in seen)
            plain_shop.run("umount", str(mount.path))
            assert trace.wait(LIMIT) == ExitCode.NOT_MOUNTED
        finally:
            trace.kill()
            trace.wait()
    assert plain_shop.run("trace", str(mount.path)).returncode == ExitCode.NOT_MOUNTED


def test_a_trace_ends_in_time_and_needs_the_kernel_channel(shop: Workshop, channel: str) -> None:
    with shop.mounted() as mount:
        done = shop.run("trace", str(mount.path), "--for", "300ms", "--slower-than", "1h")
        if channel == "kernel":
            assert (done.returncode, done.stdout) == (0, "")
        else:
            assert done.returncode == ExitCode.UNEXPECTED and "--channel kernel" in done.stderr
        assert shop.run("trace", str(mount.path), "--for", "never").returncode == ExitCode.USAGE


def test_what_is_known_of_a_file(plain_shop: Workshop) -> None:
    data = os.urandom(3 << 20)
    plain_shop.server.store.put(BUCKET, b"data/big", data)
    plain_shop.server.store.put(BUCKET, b"data/denied", data)
    with plain_shop.mounted("--cache-dir", str(plain_shop.folder / "cache"), source=SOURCE) as mount:
        assert (mount.path / "big").read_bytes() == data
        eventually(lambda: mount.status()["facts"]["disk"]["writing"] == 0, "it is cached on disk")
        known = json.loads(plain_shop.run("explain", str(mount.path), "big", "--json").stdout)
        assert (known["key"], known["size"], known["kind"]) == ("data/big", len(data), "file")
        assert known["etag"] == hashlib.md5(data).hexdigest().upper()
        assert known["disk"]["bytes"] > 0 and "data" in known["disk"]["files"]
        assert known["streams"][0]["from"] == 0 and known["streams"][0]["to"] == len(data)
        assert known["memory"]["on_their_way"] == 0 and known["failures"] == []
        plain_shop.server.faults.add(Fault(keys="data/denied", operations=("GET",), code="AccessDenied"))
        try:
            (mount.path / "denied").read_bytes()
            raise AssertionError("it was read")
        except PermissionError:
            pass
        text = plain_shop.run("explain", str(mount.path), str(mount.path / "denied")).stdout
        assert "nothing cached" in text and "EACCES" in text and "AccessDenied" in text
        for path, code in (("none", ExitCode.UNEXPECTED), ("../x", ExitCode.USAGE), (".", ExitCode.USAGE)):
            assert plain_shop.run("explain", str(mount.path), path).returncode == code
