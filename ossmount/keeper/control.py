"""The keeper's control socket: JSON lines, as the daemon's, but it answers also while there is no daemon."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable

_LONGEST = 4 << 20  # bytes of one request
_MOST = 16  # clients at once

#: Watches a descriptor from now on; None: not any more.
Watch = Callable[[int, "Callable[[], None] | None"], None]


class Client:
    """One client, from its connecting to its answer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""

    def answer(self, **fields: object) -> None:
        """One line; a client that went away or does not read has none."""
        try:
            self.connection.sendall(json.dumps(fields).encode() + b"\n")
        except OSError:
            return


class Control:
    """Listens; each request is given to `serve(request, client)`, which answers at once or later."""

    def __init__(self, path: str, watch: Watch, serve: Callable[[dict[str, object], Client], None]) -> None:
        self.path = path
        self._watch = watch
        self._serve = serve
        self._clients: list[Client] = []
        self._listener = _listen(path)
        watch(self._listener.fileno(), self._accept)

    def close(self) -> None:
        for client in list(self._clients):
            self._end(client)
        self._listener.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        if len(self._clients) >= _MOST:
            connection.close()
            return
        connection.setblocking(False)
        client = Client(connection)
        self._clients.append(client)
        self._watch(connection.fileno(), lambda: self._read(client))

    def _read(self, client: Client) -> None:
        try:
            data = client.connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.received += data
        if not data or len(client.received) > _LONGEST:
            self._end(client)
            return
        line, newline, rest = client.received.partition(b"\n")
        if newline:
            client.received = rest
            try:
                request = json.loads(line)
                if not isinstance(request, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                client.answer(error=f"not a JSON object: {error}")
                return
            self._serve(request, client)

    def _end(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._watch(client.connection.fileno(), None)
            client.connection.close()


def _listen(path: str) -> socket.socket:
    """Through the folder's descriptor: the path may be longer than an address can be."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        listener.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        os.chmod(path, 0o600)
        listener.listen(_MOST)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener
