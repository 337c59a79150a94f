"""Who can reach the embedded server: this machine, unless it is told otherwise."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest

from ossmount.emulator.server import EmulatedServer


def listening_on(port: int) -> set[str]:
    """The addresses on which somebody listens at a port (proc_pid_net(5))."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        address, _, number = line.split()[1].partition(":")
        if int(number, 16) == port and line.split()[3] == "0A":  # TCP_LISTEN
            found.add(str(ipaddress.ip_address(bytes.fromhex(address)[::-1])))
    six = (line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:])
    return found | {fields[1] for fields in six if int(fields[1].partition(":")[2], 16) == port and fields[3] == "0A"}


@pytest.mark.parametrize(("given", "expected"), [({}, "127.0.0.1"), ({"host": "0.0.0.0"}, "0.0.0.0")])
def test_it_binds_to_loopback_unless_it_is_told_otherwise(tmp_path: Path, given: dict[str, str], expected: str) -> None:
    with EmulatedServer(tmp_path / "server", **given) as server:  # type: ignore[arg-type]
        port = int(server.url.rpartition(":")[2])
        assert listening_on(port) == {expected}
        with socket.create_connection(("127.0.0.1", port), timeout=30):
            pass
