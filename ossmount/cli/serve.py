"""ossmount serve: the embedded OSS server over a folder, until it is told to stop."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

_DEFAULT_ID = "test-id"
_DEFAULT_SECRET = "test-secret"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Speaks the OSS API over a local folder, each of whose sub-folders is a bucket. For tests and development, never "
        "for the open internet. Requests are signed with the access key below, which is no secret."
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="the folder; made when it is missing")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=9000, help="the port, 0 for a free one (default %(default)s)")
    parser.add_argument("--access-key-id", default=_DEFAULT_ID, metavar="ID", help="default %(default)s")
    parser.add_argument("--access-key-secret", default=_DEFAULT_SECRET, metavar="SECRET", help="default %(default)s")
    parser.add_argument("--anonymous", action="store_true", help="answer unsigned requests too")
    parser.add_argument("--plain", action="store_true", help="serve folders of plain files, read-only, as they lie")
    parser.add_argument("--json", action="store_true", help="say where it serves as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Serves until SIGINT or SIGTERM; 0 then, 1 where it cannot start (the reason is on stderr)."""
    try:
        from ossmount.emulator.server import EmulatedServer
    except ModuleNotFoundError as failure:
        print(f"ossmount serve needs the Python package {failure.name}: pip install {failure.name}", file=sys.stderr)
        return 1

    stop = threading.Event()

    def stop_serving(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell starts jobs with &, and nohup does with SIGHUP
            signal.signal(number, stop_serving)
    server = EmulatedServer(
        args.directory,
        host=args.host,
        port=args.port,
        access_key_id=args.access_key_id,
        access_key_secret=args.access_key_secret,
        anonymous=args.anonymous,
        plain=args.plain,
    )
    server.requests.keep = 0  # a server that runs for days must not grow
    try:
        with server:
            where = {"directory": str(args.directory), "url": server.url}
            print(json.dumps(where) if args.json else f"serving {args.directory} at {server.url}", flush=True)
            stop.wait()
    except ValueError as failure:
        print(f"ossmount serve: {failure}", file=sys.stderr)
        return 1
    except OSError as failure:
        place = f"{args.host}:{args.port}"
        reason = failure.strerror or str(failure)
        print(f"ossmount serve: cannot serve {args.directory} at {place}: {reason}", file=sys.stderr)
        return 1
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)
