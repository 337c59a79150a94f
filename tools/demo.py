"""`make demo`: ossmount's main job, for real, on this machine.

Uploads a real tree through oss2 to the embedded OSS server, mounts it with the command line, reads every byte back through
the mount with eight processes, compares SHA-256 with the originals, unmounts and cleans up, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import oss2

BUCKET = "demo"
READERS = 8
BIG_FILE = 512 << 20
BIG_NAME = "one-512-MiB-file.bin"
ACCESS_KEY = ("demo-id", "demo-secret")
_CHUNK = 1 << 20


class File(NamedTuple):
    path: str  # relative to the tree
    size: int
    sha256: str


class Progress:
    """One line that is rewritten on a terminal, and a line now and then where there is none."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._terminal = sys.stdout.isatty()
        self._shown = time.monotonic()

    def show(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        last = done >= self._total
        if last or now - self._shown >= (0.1 if self._terminal else 5.0):
            self._shown = now
            line = f"  {self._what}: {done:,} of {self._total:,} {self._unit}{note}"
            print(f"\r\x1b[K{line}" if self._terminal else line, end="\n" if last or not self._terminal else "", flush=True)


def real_files() -> list[Path]:
    """The Python standard library's folder: thousands of real files in nested folders."""
    root = Path(sysconfig.get_path("stdlib"))
    return [
        Path(folder) / name
        for folder, folders, names in os.walk(root)
        for name in names
        if "site-packages" not in folder and (Path(folder) / name).is_file()
    ]


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def make_big_file(path: Path) -> None:
    """512 MiB of bytes that no compression and no zero page can fake."""
    block = hashlib.shake_256(b"ossmount").digest(4 << 20)
    with path.open("wb") as file:
        for number in range(BIG_FILE // len(block)):
            file.write(number.to_bytes(8, "big") + block[8:])


def upload(endpoint: str, scratch: Path) -> list[File]:
    """Creates the bucket and puts the tree into it through oss2."""
    bucket = oss2.Bucket(oss2.Auth(*ACCESS_KEY), endpoint, BUCKET, is_path_style=True)
    bucket.create_bucket()
    root = Path(sysconfig.get_path("stdlib"))
    sources = [(f"stdlib/{path.relative_to(root)}", path) for path in real_files()]
    big = scratch / BIG_NAME
    make_big_file(big)
    sources.append((BIG_NAME, big))
    progress = Progress("uploading", len(sources), "files")

    def put(source: tuple[str, Path]) -> File:
        key, path = source
        bucket.put_object_from_file(key, str(path))
        return File(key, path.stat().st_size, _sha256(str(path)))

    files = []
    with ThreadPoolExecutor(8) as threads:
        for future in as_completed([threads.submit(put, source) for source in sources]):
            files.append(future.result())
            progress.show(len(files))
    return files


def _check(job: tuple[str, File]) -> tuple[File, str]:
    """Runs in a reader process: reads one file through the mount; the error, or ""."""
    mountpoint, file = job
    try:
        read = _sha256(os.path.join(mountpoint, file.path))
    except OSError as failure:
        return file, str(failure)
    return file, "" if read == file.sha256 else "the bytes differ"


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def read_back(mountpoint: Path, files: list[File]) -> tuple[float, list[str]]:
    """Reads and compares every file with eight processes; the seconds that it took and what was wrong."""
    # Largest first, so that no reader is left alone with the one big file at the end.
    jobs = [(str(mountpoint), file) for file in sorted(files, key=lambda file: -file.size)]
    progress = Progress("reading back", len(jobs), "files")
    wrong: list[str] = []
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(READERS, _ignore_interrupts) as readers:
        started = time.monotonic()
        for number, (file, error) in enumerate(readers.imap_unordered(_check, jobs, chunksize=8), 1):
            if error:
                wrong.append(f"{file.path}: {error}")
            progress.show(number, f", {len(wrong)} wrong" if wrong else "")
    return time.monotonic() - started, wrong


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[str]:
    """The embedded server as a user starts it; yields its URL."""
    command = [sys.executable, "-m", "ossmount", "serve", str(directory), "--port", "0"]
    # The demo's keys are no secret: they are good for this one server, on the loopback interface, while the demo runs.
    command += ["--access-key-id", ACCESS_KEY[0], "--access-key-secret", ACCESS_KEY[1]]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        url = next((word for word in line.split() if word.startswith("http://")), "")
        if not url:
            raise SystemExit(f"the embedded server did not start (it said: {line.strip()!r})")
        yield url.rstrip("/.,")
    finally:
        server.terminate()
        server.wait(10)


def _ossmount(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, OSS_ACCESS_KEY_ID=ACCESS_KEY[0], OSS_ACCESS_KEY_SECRET=ACCESS_KEY[1])
    done = subprocess.run(
        [sys.executable, "-m", "ossmount", *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if check and done.returncode:
        raise SystemExit(f"`ossmount {' '.join(arguments)}` ended with exit code {done.returncode}")
    return done


def _requests(mountpoint: Path) -> str:
    """The requests made to OSS, as `ossmount status` counts them."""
    status = json.loads(_ossmount("status", str(mountpoint), "--json").stdout)
    counters = status["counters"]
    return ", ".join(f"{counters[kind]:,} {kind.upper()}" for kind in ("list", "head", "get") if kind in counters)


def summary(files: list[File], seconds: float, requests: str, wrong: list[str]) -> None:
    size = sum(file.size for file in files)
    print()
    print(f"  files       {len(files):,}")
    print(f"  bytes       {size:,}")
    print(f"  time        {seconds:.1f} s with {READERS} readers")
    print(f"  rate        {len(files) / seconds:,.0f} files/s, {size / seconds / 1e6:,.0f} MB/s, SHA-256 included")
    print(f"  requests    {requests}")
    print(f"  compared    {'every byte is right' if not wrong else f'{len(wrong)} files are WRONG'}")
    for line in wrong[:10]:
        print(f"              {line}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the bucket mounted until Enter or Ctrl-C")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where `make` was started with it ignored
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = Path(tempfile.mkdtemp(prefix="ossmount-demo-"))
    mountpoint = scratch / "mount"
    mountpoint.mkdir()
    if not keep:  # else `ossmount status` shall find it
        os.environ["OSSMOUNT_STATE_DIR"] = str(scratch / "state")
    try:
        code = _run(scratch, mountpoint, keep)
        if code:
            _show_log(scratch)
        return code
    except KeyboardInterrupt:
        print("\nInterrupted.")
        return 130
    except SystemExit:
        _show_log(scratch)
        raise
    finally:
        if os.path.ismount(mountpoint):
            _ossmount("umount", "--lazy", str(mountpoint), check=False)
        shutil.rmtree(scratch, ignore_errors=True)
        print("Unmounted and cleaned up.")


def _show_log(scratch: Path) -> None:
    for log in (scratch / "state").glob("*.log"):
        print(f"The daemon's log:\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)


def _run(scratch: Path, mountpoint: Path, keep: bool) -> int:
    print("1. The embedded OSS server, and a real tree in it through oss2")
    with serving(scratch / "server") as url:
        files = upload(url, scratch)
        print(f"2. ossmount mount oss://{BUCKET} {mountpoint} --endpoint {url}")
        source = ["mount", f"oss://{BUCKET}", str(mountpoint), "--endpoint", url, "--metadata-dir", str(scratch / "metadata")]
        try:
            _ossmount(*source)
            print("3. Every byte read back through the mount and compared")
            seconds, wrong = read_back(mountpoint, files)
            summary(files, seconds, _requests(mountpoint), wrong)
            if keep:
                print(f"\nLook around in {mountpoint}; press Enter or Ctrl-C here to end.")
                with contextlib.suppress(KeyboardInterrupt):
                    sys.stdin.readline()
        finally:
            _ossmount("umount", str(mountpoint), check=False)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
