"""The pictures in docs/images: `ossmount top`, `explain`, `doctor` and the chart of `bench`, of real runs on this machine.

    python -m tools.screenshots [top|explain|doctor|bench ...]       (root, /dev/fuse and tmux are needed; some minutes)

A bucket of small files and two large ones lies in the embedded server, whose answers are late on purpose for top and explain.
tmux is the terminal: what it shows, with its colours, is drawn by Pillow in the font that matplotlib brings along.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from ossmount.emulator.faults import Fault
from ossmount.emulator.server import EmulatedServer

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
BUCKET = "imagenet"
FILES, SMALL = 3000, 110_000  # of small files: how many, bytes
LARGE = 256 << 20
READERS = 4
COLUMNS = 112
_SIZE = 26  # pixels of the font: twice what a screen shows
_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_COLOURS = {31: "#d75f5f", 32: "#7fb069", 33: "#e0b050"}
_INSIDE = "--inside"
_PLAIN, _BRIGHT, _BEHIND = "#d4d4d4", "#ffffff", "#1b1e23"


def draw(text: str, path: Path, columns: int = COLUMNS) -> None:
    """Draws what a terminal shows: text with the sequences of SGR for bold, dim and the colours of ossmount."""
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    plain, bold = (ImageFont.truetype(str(fonts / f"DejaVuSansMono{kind}.ttf"), _SIZE) for kind in ("", "-Bold"))
    width, height = plain.getlength("x"), round(_SIZE * 1.3)
    lines = text.rstrip().split("\n")
    picture = Image.new("RGB", (round((columns + 2) * width), height * (len(lines) + 1)), _BEHIND)
    pen = ImageDraw.Draw(picture)
    colour, font = _PLAIN, plain
    for row, line in enumerate(lines):
        column = 1.0
        for index, piece in enumerate(_SGR.split(line)):
            if index % 2:
                for code in map(int, piece.split(";") if piece else ["0"]):
                    font = bold if code == 1 else plain if code in (0, 22) else font
                    colour = _COLOURS.get(code, _PLAIN if code in (0, 39) else colour)
                continue
            shown = _BRIGHT if font is bold and colour == _PLAIN else colour
            pen.text((column * width, (row + 0.5) * height), piece, shown, font)
            column += len(piece)
    picture.quantize(128).save(path, optimize=True)


def read_epochs(mount: Path, reader: int) -> None:
    """One reader: its share of the small files, over and over, out of the page cache's way."""
    files = sorted((mount / "train").rglob("*.jpg"))[reader::READERS]
    while True:
        for path in files:
            with path.open("rb", buffering=0) as file:
                file.readall()
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Stage:
    """A server, a mount and its readers, for the time of the pictures."""

    def __init__(self, folder: Path, server: EmulatedServer) -> None:
        self.server = server
        self.mount = Path("/mnt/imagenet")
        self.mount.mkdir()
        self._folder = folder
        keys = Path("/mnt/keys.json")
        ends = (datetime.now(timezone.utc) + timedelta(minutes=47)).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys.write_text(json.dumps({"AccessKeyId": "test-id", "AccessKeySecret": "test-secret", "Expiration": ends}))
        keys.chmod(0o600)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OSS")}
        self.environment = {
            **clean,
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
            "OSSMOUNT_ENDPOINT": server.url,
            "OSSMOUNT_CREDENTIALS": str(keys),
            "OSSMOUNT_METADATA_DIR": str(folder / "metadata"),
            "OSSMOUNT_STATE_DIR": str(folder / "state"),
            "OSSMOUNT_MEMORY_LIMIT": "256M",
        }
        Path("/mnt/cache").mkdir()
        program = folder / "ossmount"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ossmount "$@"\n')
        program.chmod(0o755)
        self.environment["PATH"] = f"{folder}:{self.environment['PATH']}"

    def fill(self) -> None:
        store = self.server.store
        store.create_bucket(BUCKET)
        for number in range(FILES):
            store.put(BUCKET, b"train/%02d/%04d.jpg" % (number % 30, number), os.urandom(SMALL))
        for number in range(2):
            store.put(BUCKET, b"shards/%d.tar" % number, os.urandom(LARGE))

    def run(self, *words: str) -> str:
        done = subprocess.run(["ossmount", *words], env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"ossmount {words[0]} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def mounted(self, *options: str) -> Iterator[None]:
        self.run("mount", f"oss://{BUCKET}", str(self.mount), *options)
        try:
            yield
        finally:
            subprocess.run(["ossmount", "umount", "--force", str(self.mount)], env=self.environment, check=False)

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        """Epochs of the small files while it lasts, by readers that are processes of their own."""
        context = multiprocessing.get_context("spawn")
        readers = [context.Process(target=read_epochs, args=(self.mount, each), daemon=True) for each in range(READERS)]
        for reader in readers:
            reader.start()
        try:
            yield
        finally:
            for reader in readers:
                reader.terminate()
                reader.join()

    def wait_for_gets(self, count: int) -> None:
        """Until the mount has made so many."""
        while json.loads(self.run("status", str(self.mount), "--json"))["counters"]["get"] < count:
            time.sleep(0.5)

    def shown(self, command: str, rows: int, seconds: float) -> str:
        """What a terminal shows so many seconds after the command was started in it."""
        tmux = ["tmux", "-S", str(self._folder / "tmux")]
        size = ["-x", str(COLUMNS), "-y", str(rows)]
        words = [*tmux, "-f", "/dev/null", "new-session", "-d", *size, f"{command}; sleep 1000"]
        subprocess.run(words, env=self.environment, check=True)
        try:
            time.sleep(seconds)
            done = subprocess.run([*tmux, "capture-pane", "-p", "-e"], capture_output=True, text=True, check=True)
            return done.stdout
        finally:
            subprocess.run([*tmux, "kill-server"], check=True)


def main() -> None:
    if shutil.which("tmux") is None:
        sys.exit("tmux is missing: apt-get install tmux")
    if sys.argv[1:2] != [_INSIDE]:  # once more, where /mnt is our own
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tools.screenshots", _INSIDE]
        sys.exit(subprocess.run([*words, *sys.argv[1:]], cwd=ROOT, check=False).returncode)
    wanted = sys.argv[2:] or list(PICTURES)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/mnt"], check=True)
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ossmount-screenshots-") as name:
        folder = Path(name)
        with EmulatedServer(folder / "server") as server:
            stage = Stage(folder, server)
            stage.fill()
            for picture in wanted:
                path = IMAGES / f"{picture}.png"
                PICTURES[picture](stage, path)
                server.faults.clear()
                print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def top(stage: Stage, path: Path) -> None:
    stage.server.faults.add(Fault(operations=("GET", "HEAD", "LIST"), latency=0.015))
    with stage.mounted("--cache-dir", "/mnt/cache", "--cache-size", "1G"), stage.read():
        stage.wait_for_gets(FILES)  # all of them lie on the disk then
        draw(stage.shown(f"ossmount top {stage.mount} --interval 5", 31, 13), path)


def explain(stage: Stage, path: Path) -> None:
    stage.server.faults.add(Fault(operations=("GET",), latency=0.25))
    with stage.mounted(), stage.read():
        stage.wait_for_gets(300)
        draw(stage.shown(f"ossmount explain {stage.mount}", 40, 5), path)


def doctor(stage: Stage, path: Path) -> None:
    draw(stage.shown(f"ossmount doctor oss://{BUCKET} --cache-dir /mnt/cache", 40, 25), path)


def bench(stage: Stage, path: Path) -> None:
    stage.run("bench", f"oss://{BUCKET}", "--seconds", "20", "--png", str(path))


PICTURES = {"top": top, "explain": explain, "doctor": doctor, "bench": bench}


if __name__ == "__main__":
    main()
