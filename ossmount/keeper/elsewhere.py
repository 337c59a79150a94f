"""Daemons in another container, which may be killed for memory or replaced by a new image without the keeper's.

The keeper asks a starter there (ossmount/node/starter.py), over a socket in a folder that both see, for each daemon: one
packet each way, as keeper/wire.py has them.

keeper → starter   start: words, environment, places; descriptors: each goes to its place, a number, in the daemon
starter → keeper   started: pid, and descriptor: its pidfd; or refused: error
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence

from ossmount.keeper import wire

PATIENCE = 5.0  # seconds for its answer: it only starts a process
AGAIN = 0.2  # seconds until it is looked for once more


class NoStarter(OSError):
    """Its container is not there, or just going; another one comes."""


def start(path: str, words: Sequence[str], environment: Mapping[str, str], places: Mapping[int, int]) -> tuple[int, int]:
    """places: descriptor of ours by its number in the daemon. Its pid and a pidfd; raises NoStarter, or OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(path)
            given = {"words": [*words], "environment": {**environment}, "places": [*places]}
            wire.send(connection, "start", tuple(places.values()), **given)
            received = wire.receive(connection)
        except OSError as error:
            raise NoStarter(error.errno, f"{path}: {error.strerror or error}") from None
    if received is None:
        raise NoStarter(0, f"{path}: it has ended")
    message, descriptors = received
    if message["kind"] != "started":
        raise OSError(message["error"])
    pid = int(str(message["pid"]))
    if not os.path.exists(f"/proc/{pid}"):  # another pid namespace: who watches must see whom it watches
        os.close(descriptors[0])
        raise OSError("keeper and daemon need one pid namespace (shareProcessNamespace: true)")
    return pid, descriptors[0]
