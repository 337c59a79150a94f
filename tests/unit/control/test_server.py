import contextlib
import errno
import json
import logging
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ossmount.control.client import ControlError, ask
from ossmount.control.server import ControlServer, Conversation
from ossmount.control.sockets import address

LIMIT = 30.0  # seconds, against hanging only


async def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"heard": request}


async def fail(request: dict[str, Any]) -> dict[str, Any]:
    raise LookupError("no luck")


def serve(path: Path, use: Callable[[], Awaitable[None]]) -> None:
    """Runs `use` while the server serves."""

    async def main() -> None:
        server = ControlServer(path, {"echo": echo, "fail": fail})
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                started = trio.Event()
                nursery.start_soon(server.run, started.set)
                await started.wait()
                await use()
                nursery.cancel_scope.cancel()

    trio.run(main)


async def asked(path: Path, command: str, **arguments: object) -> dict[str, Any]:
    return await trio.to_thread.run_sync(lambda: ask(path, command, timeout=LIMIT, **arguments))


def test_a_command_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def use() -> None:
        assert path.stat().st_mode & 0o777 == 0o600
        assert await asked(path, "echo", x=1) == {"heard": {"command": "echo", "x": 1}}

    serve(path, use)
    assert not path.exists()


def test_a_path_longer_than_an_address(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 100) / "s"
    path.parent.mkdir()

    async def use() -> None:
        assert "heard" in await asked(path, "echo")

    serve(path, use)


def test_the_socket_of_a_killed_daemon_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    async def use() -> None:
        assert "heard" in await asked(path, "echo")

    serve(path, use)


def test_a_defect_is_answered_and_logged_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"

    async def use() -> None:
        with pytest.raises(ControlError, match="LookupError: no luck"):
            await asked(path, "fail")
        with pytest.raises(ControlError, match="unknown command 'nonsense'; there are: echo, fail"):
            await asked(path, "nonsense")
        assert "heard" in await asked(path, "echo")

    serve(path, use)
    assert "no luck" in caplog.text


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"command": 1}', b"\xff\xfe", b"[" * 100_000])
def test_nonsense_is_answered_with_an_error(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "s"

    async def use() -> None:
        stream = await trio.open_unix_socket(path)
        async with stream:
            await stream.send_all(line + b'\n{"command": "echo"}\n')
            received = b""
            while received.count(b"\n") < 2:
                received += await stream.receive_some(65536)
        first, second = (json.loads(answer) for answer in received.splitlines())
        assert "error" in first
        assert "heard" in second

    serve(path, use)


def test_clients_that_go_away_or_talk_too_long_disturb_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "s"

    async def use() -> None:
        for data in (b"", b"half a line", b'{"command": "echo"}\n'):
            stream = await trio.open_unix_socket(path)
            await stream.send_all(data)
            await stream.aclose()
        stream = await trio.open_unix_socket(path)
        async with stream:
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"x" * 65536)
        assert "heard" in await asked(path, "echo")

    serve(path, use)


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with pytest.raises(OSError) as full:
            while True:
                taken.append(os.dup(0))
        assert full.value.errno == errno.EMFILE
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


def test_a_client_waits_while_there_are_no_descriptors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"

    async def use() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            with address(path) as where:
                client.connect(where)
            client.sendall(b'{"command": "echo"}\n')
            with no_descriptors_left():
                while "Too many open files" not in caplog.text:
                    await trio.sleep(0.01)
            client.settimeout(LIMIT)
            assert b"heard" in await trio.to_thread.run_sync(client.recv, 1 << 16)

    serve(path, use)


def test_a_daemon_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="cannot be asked"):
        ask(tmp_path / "s", "status", timeout=1)


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener, address(path) as where:
        listener.bind(where)
        listener.listen(1)
        with pytest.raises(ControlError, match="does not answer within"):
            ask(path, "status", timeout=0.05)


def test_a_talk_lasts_as_long_as_its_client(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    ended = trio.Event()

    async def repeat(request: dict[str, Any], conversation: Conversation) -> None:
        while request is not None:
            await conversation.send({"heard": request})
            following = await conversation.receive()
            if following is None:
                ended.set()
                return
            request = following

    async def main() -> None:
        server = ControlServer(path, {"echo": echo}, {"repeat": repeat})
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                await nursery.start(lambda task_status: server.run(task_status.started))
                stream = await trio.open_unix_socket(str(path))
                await stream.send_all(b'{"command": "echo"}\n{"command": "repeat"}\n{"command": "more", "n": 1}\n')
                received = b""
                while received.count(b"\n") < 3:
                    received += await stream.receive_some()
                heard = [json.loads(line)["heard"] for line in received.splitlines()]
                assert heard == [{"command": "echo"}, {"command": "repeat"}, {"command": "more", "n": 1}]
                await stream.aclose()
                await ended.wait()
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_client_that_leaves_a_talk_is_no_defect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "socket"
    gone, told = trio.Event(), trio.Event()

    async def late(request: dict[str, Any], conversation: Conversation) -> None:
        await gone.wait()
        try:
            async with trio.open_nursery() as nursery:  # which groups what is raised in it
                nursery.start_soon(conversation.send, {})
        finally:
            told.set()

    async def main() -> None:
        server = ControlServer(path, {"echo": echo}, {"late": late})
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                await nursery.start(lambda task_status: server.run(task_status.started))
                stream = await trio.open_unix_socket(str(path))
                await stream.send_all(b'{"command": "late"}\n')
                await stream.aclose()
                gone.set()
                await told.wait()
                assert "heard" in await asked(path, "echo")
                nursery.cancel_scope.cancel()

    caplog.set_level(logging.INFO)
    trio.run(main)
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("INFO", None)]


def test_a_talk_that_fails_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def broken(request: dict[str, Any], conversation: Conversation) -> None:
        raise LookupError("no luck")

    async def main() -> None:
        server = ControlServer(path, {}, {"broken": broken})
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                await nursery.start(lambda task_status: server.run(task_status.started))
                with pytest.raises(ControlError, match="LookupError: no luck"):
                    await trio.to_thread.run_sync(lambda: ask(path, "broken", timeout=LIMIT))
                with pytest.raises(ControlError, match="unknown command 'x'; there are: broken"):
                    await trio.to_thread.run_sync(lambda: ask(path, "x", timeout=LIMIT))
                nursery.cancel_scope.cancel()

    trio.run(main)
