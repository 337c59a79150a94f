"""Whole objects to and from files, against the embedded server and what goes wrong on the way."""

from __future__ import annotations

import io
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
import trio

from ossmount.config import Credentials, SourceConfig
from ossmount.emulator.faults import Fault
from ossmount.emulator.server import EmulatedServer
from ossmount.errors import Changed, Damaged, Denied, NotFound, OssMountError
from ossmount.oss import buckets, copying
from ossmount.oss.buckets import Bucket

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # oss2, on Python 3.12

PIECE = 128 << 10  # OSS takes parts of 100 KiB and more
BUCKET = "copies"
KEY = "dir/é +%2F.snapshot".encode()
SIZES = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 5 * PIECE + 7]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedServer]:
    with EmulatedServer(tmp_path_factory.mktemp("store")) as running:
        running.store.create_bucket(BUCKET)
        yield running


@pytest.fixture(autouse=True)
def fresh(server: EmulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(copying, "PIECE", PIECE)
    server.faults.clear()
    server.requests.clear()


def data_of(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def run(server: EmulatedServer, work: Callable[[Bucket], Awaitable[None]], *, region: str = "", timeout: float = 60.0) -> None:
    keys = Credentials(server.access_key_id, server.access_key_secret)
    source = SourceConfig(BUCKET, endpoint=server.url, region=region, credentials=lambda: keys, timeout=timeout)

    async def main() -> None:
        bucket = Bucket(source)
        try:
            await work(bucket)
        finally:
            bucket.close()

    trio.run(main)


def received(server: EmulatedServer, **more: float) -> bytes:
    file = io.BytesIO()
    run(server, lambda bucket: copying.download(bucket, KEY, file), **more)  # type: ignore[arg-type]
    return file.getvalue()


def send(server: EmulatedServer, path: Path, data: bytes, *, region: str = "") -> None:
    path.write_bytes(data)
    with open(path, "rb") as file:

        async def work(bucket: Bucket, file: BinaryIO = file) -> None:
            await copying.upload(bucket, KEY, file)

        run(server, work, region=region)


def stored(server: EmulatedServer) -> bytes | None:
    return server.store.get(BUCKET, KEY)


def unfinished(server: EmulatedServer) -> int:
    bucket = server.store.writable(BUCKET)
    with bucket.lock:
        return int(bucket.db.execute("SELECT count(*) FROM uploads").fetchone()[0])


@pytest.mark.parametrize("region", ["", "cn-hangzhou"], ids=["V1", "V4"])
@pytest.mark.parametrize("size", SIZES)
def test_there_and_back(server: EmulatedServer, tmp_path: Path, size: int, region: str) -> None:
    send(server, tmp_path / "file", data_of(size), region=region)
    assert stored(server) == data_of(size)
    assert received(server) == data_of(size)
    assert unfinished(server) == 0


@pytest.mark.parametrize("size", [PIECE // 2, 5 * PIECE + 7])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(reset=True, count=3),
        Fault(code="QpsLimitExceeded", count=3),
        Fault(code="InternalError", skip=2, count=2),
        Fault(operations=("GET",), truncate_after=1000, count=2),
        Fault(operations=("GET",), reset_after=1000, skip=1, count=2),
        Fault(operations=("PUT", "POST"), reset=True, skip=1, count=2),
    ],
    ids=str,
)
def test_what_passes_is_repeated(server: EmulatedServer, tmp_path: Path, size: int, fault: Fault) -> None:
    server.faults.add(fault)
    send(server, tmp_path / "file", data_of(size))
    assert stored(server) == data_of(size)
    assert received(server) == data_of(size)


def test_an_upload_that_fails_leaves_the_old_object_and_no_parts(server: EmulatedServer, tmp_path: Path) -> None:
    send(server, tmp_path / "file", b"old")
    server.faults.add(Fault(operations=("UploadPart",), code="AccessDenied", skip=2))
    with pytest.raises(Denied):
        send(server, tmp_path / "file", data_of(5 * PIECE))
    assert stored(server) == b"old"
    assert unfinished(server) == 0


def test_a_lost_answer_to_the_last_request_is_no_failure(
    server: EmulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload is complete, and the repeated request is told NoSuchUpload."""
    asked = Bucket.ask

    async def ask_twice(self: Bucket, question: object, *rest: object) -> object:
        if question.kind == "CompleteMultipartUpload":  # type: ignore[attr-defined]
            await asked(self, question, *rest)  # type: ignore[arg-type]
        return await asked(self, question, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Bucket, "ask", ask_twice)
    send(server, tmp_path / "file", data_of(3 * PIECE))
    assert stored(server) == data_of(3 * PIECE)
    server.store.put(BUCKET, KEY, b"somebody else's")
    monkeypatch.setattr(copying, "_send_parts", _another_checksum(copying._send_parts))
    with pytest.raises(NotFound, match="NoSuchUpload"):
        send(server, tmp_path / "file", data_of(3 * PIECE))


def _another_checksum(real: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    async def wrong(*arguments: object) -> int:
        return await real(*arguments) ^ 1

    return wrong


def test_bytes_that_changed_on_the_way_are_noticed(server: EmulatedServer, tmp_path: Path) -> None:
    send(server, tmp_path / "file", data_of(2 * PIECE))
    server.faults.add(Fault(operations=("GET",), corrupt_at=77, count=1))
    with pytest.raises(Damaged, match="checksum"):
        received(server)


def test_a_version_that_is_replaced_meanwhile_is_received_anew(server: EmulatedServer, tmp_path: Path) -> None:
    send(server, tmp_path / "file", data_of(3 * PIECE))
    server.faults.add(Fault(operations=("GET",), code="PreconditionFailed", skip=1, count=1))
    assert received(server) == data_of(3 * PIECE)
    assert server.requests.count("HEAD", KEY) == 2
    server.faults.add(Fault(operations=("GET",), code="PreconditionFailed"))
    with pytest.raises(Changed):
        received(server)


def test_the_beginning_only(server: EmulatedServer, tmp_path: Path) -> None:
    send(server, tmp_path / "file", data_of(5000))
    for size, wanted in ((1000, 1000), (9000, 5000)):
        found: list[bytes] = []

        async def work(bucket: Bucket, size: int = size, found: list[bytes] = found) -> None:
            found.append(await copying.beginning(bucket, KEY, size))

        run(server, work)
        assert found == [data_of(5000)[:wanted]]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(operations=("GET", "HEAD"), code="AccessDenied"), Denied),
        (Fault(operations=("GET",), code="NoSuchKey"), Changed),
        (Fault(operations=("HEAD",), code="NoSuchKey"), NotFound),
        (Fault(operations=("GET",), hang=True), OssMountError),
        (Fault(operations=("GET",), hang_after=1000), OssMountError),
    ],
    ids=str,
)
def test_what_does_not_pass_is_an_error_and_nothing_hangs(
    server: EmulatedServer, tmp_path: Path, fault: Fault, kind: type[OssMountError]
) -> None:
    send(server, tmp_path / "file", data_of(2 * PIECE))
    server.faults.add(fault)
    with pytest.raises(kind):
        received(server, timeout=1.0)
