"""How a reader process reaches the data: through a folder (a mount, or a local disk), or by plain GETs on sockets."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.data import digest


class Place(NamedTuple):
    """Where the data is, as it is told to a reader process."""

    root: str = ""  # a folder; "" for plain GETs
    port: int = 0
    bucket: str = ""
    null: bool = False  # the null file system: other names, and nothing to check

    def digest(self, key: str) -> bytes:
        """What data.check() holds the bytes of the key against; b"" where there is nothing to check."""
        return b"" if self.null else digest(key)


class Source(Protocol):
    """What the readers need. Keys are slash-separated names below the bucket."""

    def read_file(self, key: str, size: int) -> bytes | memoryview:
        """Opens, reads and closes a whole small file. The view is valid until the next call."""
        ...

    def open(self, key: str) -> int: ...

    def pread(self, handle: int, buffer: memoryview, offset: int) -> int:
        """Fills the buffer from the offset; returns the bytes received, fewer only at the end of the file."""
        ...

    def close(self, handle: int) -> None: ...

    def walk(self, key: str) -> tuple[int, int]:
        """Names and sizes of everything below a folder: (files, bytes)."""
        ...


def source(place: Place, *, plain_open: bool = False) -> Source:
    if place.root:
        return Folder(Path(place.root), plain_open=plain_open)
    return Gets(place.port, place.bucket)


class Folder:
    """A mounted or a local folder."""

    def __init__(self, root: Path, *, plain_open: bool) -> None:
        self._root = f"{root}/"
        self._plain_open = plain_open

    def read_file(self, key: str, size: int) -> bytes:
        if self._plain_open:
            with open(self._root + key, "rb") as stream:
                return stream.read()
        descriptor = os.open(self._root + key, os.O_RDONLY)
        try:
            data = os.read(descriptor, size + 1)
            while len(data) < size:
                more = os.read(descriptor, size + 1 - len(data))
                if not more:
                    break
                data += more
        finally:
            os.close(descriptor)
        return data

    def open(self, key: str) -> int:
        return os.open(self._root + key, os.O_RDONLY)

    def pread(self, handle: int, buffer: memoryview, offset: int) -> int:
        done = 0
        while done < len(buffer):
            count = os.preadv(handle, [buffer[done:]], offset + done)
            if count == 0:
                break
            done += count
        return done

    def close(self, handle: int) -> None:
        os.close(handle)

    def walk(self, key: str) -> tuple[int, int]:
        files = total = 0
        waiting = [self._root + key]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        files += 1
                        total += os.stat(entry.path, follow_symlinks=False).st_size
        return files, total


_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ENTRY = re.compile(rb"<Size>(\d+)</Size>")
_TOKEN = re.compile(rb"<NextContinuationToken>([^<]*)<")


class Gets:
    """Plain ranged GETs over one kept-alive socket: what the machine can do without FUSE and without a client library."""

    def __init__(self, port: int, bucket: str) -> None:
        self._address = ("127.0.0.1", port)
        self._bucket = bucket
        self._socket: socket.socket | None = None
        self._head = bytearray(64 << 10)
        self._file = memoryview(bytearray(1 << 20))
        self._keys: dict[int, str] = {}

    def read_file(self, key: str, size: int) -> memoryview:
        if size > len(self._file):
            self._file = memoryview(bytearray(size))
        return self._file[: self._get(f"/{self._bucket}/{key}", b"", self._file)]

    def open(self, key: str) -> int:
        handle = len(self._keys)
        self._keys[handle] = key
        return handle

    def pread(self, handle: int, buffer: memoryview, offset: int) -> int:
        wanted = b"Range: bytes=%d-%d\r\n" % (offset, offset + len(buffer) - 1)
        return self._get(f"/{self._bucket}/{self._keys[handle]}", wanted, buffer)

    def close(self, handle: int) -> None:
        del self._keys[handle]

    def walk(self, key: str) -> tuple[int, int]:
        """By flat listings, 1,000 keys a page, one after the other."""
        files = total = 0
        token = ""
        page = memoryview(bytearray(4 << 20))
        while True:
            path = f"/{self._bucket}?list-type=2&max-keys=1000&prefix={key}/" + (
                f"&continuation-token={token}" if token else ""
            )
            text = bytes(page[: self._get(path, b"", page)])
            sizes = _ENTRY.findall(text)
            files += len(sizes)
            total += sum(map(int, sizes))
            found = _TOKEN.search(text)
            if not found:
                return files, total
            token = found[1].decode()

    def _get(self, path: str, header: bytes, buffer: memoryview) -> int:
        """One GET, its body received into the buffer; raises OSError for anything but 200 and 206."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n" % (path.encode(), header))
        received, behind = self._receive_head(self._socket)
        head = bytes(self._head[:behind])
        length = _LENGTH.search(head)
        if head[9:12] not in (b"200", b"206") or length is None:
            raise OSError(f"GET {path}: {head.splitlines()[0].decode(errors='replace')}")
        size, done = int(length[1]), received - behind
        if size > len(buffer):
            raise OSError(f"GET {path}: {size} bytes where at most {len(buffer)} were wanted")
        buffer[:done] = memoryview(self._head)[behind:received]
        while done < size:
            count = self._socket.recv_into(buffer[done:size])
            if count == 0:
                raise OSError(f"GET {path}: the body ended after {done} of {size} bytes")
            done += count
        return size

    def _receive_head(self, connection: socket.socket) -> tuple[int, int]:
        """Bytes received and where the body begins."""
        received = 0
        while True:
            count = connection.recv_into(memoryview(self._head)[received:])
            if count == 0:
                raise OSError("the store closed the connection")
            received += count
            end = self._head.find(b"\r\n\r\n", 0, received)
            if end >= 0:
                return received, end + 4
