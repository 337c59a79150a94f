"""Metrics of a real mount, over HTTP and in a file."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ossmount.control.registry import process_start
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, LIMIT, Workshop, eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def values(text: str) -> dict[str, float]:
    """By name; labels but the first sample's are left away."""
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in reversed(family.samples)}


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=LIMIT) as answer:
        return values(answer.read().decode())


def scraped(port: int, name: str) -> float | None:
    """None while the exporter cannot be reached."""
    try:
        return scrape(port).get(name)
    except (OSError, http.client.HTTPException):
        return None


@pytest.mark.option("metrics", "metrics_file")
def test_metrics_follow_what_is_read_and_outlive_the_daemon(plain_shop: Workshop) -> None:
    data = os.urandom(300_000)
    plain_shop.server.store.put(BUCKET, b"file", data)
    port, textfile = free_port(), plain_shop.folder / "ossmount.prom"
    with plain_shop.mounted("--metrics", str(port), "--metrics-file", str(textfile)) as mount:
        eventually(lambda: scraped(port, "ossmount_up") == 1.0, "the exporter shows the mount")
        assert (mount.path / "file").read_bytes() == data
        eventually(lambda: scrape(port)["ossmount_kernel_read_bytes_total"] == len(data), "the bytes are counted")
        assert scrape(port)["ossmount_oss_received_bytes_total"] == len(data)
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/etc/passwd", timeout=LIMIT)
        eventually(textfile.exists, "the file is written")
        assert values(textfile.read_text())["ossmount_up"] == 1.0
        assert textfile.stat().st_mode & 0o777 == 0o644
        status = mount.status()
        shown = status["facts"]["metrics"]
        assert (shown["address"], shown["problem"]) == (f"127.0.0.1:{port}", "")
        assert shown["pid"] in status["pids"]
        os.kill(status["daemon_pid"], signal.SIGKILL)
        eventually(lambda: scraped(port, "ossmount_daemon_deaths_total") == 1.0, "the next daemon's exporter has the port")
        os.kill(mount.status()["facts"]["metrics"]["pid"], signal.SIGKILL)
        eventually(lambda: scraped(port, "ossmount_up") == 1.0, "an exporter that was killed is started again")
        exporter = mount.status()["facts"]["metrics"]["pid"]
    eventually(lambda: process_start(exporter) is None, "the exporter ends with the mount")
    assert not textfile.exists()


def test_an_exporter_is_shown_by_nothing_but_loopback_unless_told(plain_shop: Workshop) -> None:
    port = free_port()
    with plain_shop.mounted("--metrics", str(port)):
        eventually(lambda: scraped(port, "ossmount_up") == 1.0, "the exporter shows the mount")
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        addresses = {words[1] for words in listening if words[3] == "0A" and words[1].endswith(f":{port:04X}")}
        assert addresses == {f"0100007F:{port:04X}"}


def test_a_port_that_is_taken_and_a_folder_that_is_missing_are_told_at_the_mount(plain_shop: Workshop) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = plain_shop.run("mount", f"oss://{BUCKET}", str(plain_shop.mountpoint()), "--metrics", str(port))
    assert done.returncode == ExitCode.USAGE
    assert f"--metrics: 127.0.0.1:{port} cannot be listened on" in done.stderr
    missing = str(plain_shop.folder / "none" / "x.prom")
    done = plain_shop.run("mount", f"oss://{BUCKET}", str(plain_shop.mountpoint()), "--metrics-file", missing)
    assert done.returncode == ExitCode.USAGE
    assert "--metrics-file" in done.stderr and "none" in done.stderr
