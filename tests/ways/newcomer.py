"""README's quick start, typed into a clean Debian, and what it answers: `python -m tests.ways.newcomer > docs/quickstart.md`.

The blocks behind `<!-- quickstart -->` are run in their order, in a container that debootstrap made and nobody has touched: no
Python, no make, nothing of ossmount but a copy of the files of this checkout. Two shells stand for two terminals: a program
that stays (`ossmount serve`) has the first one. What is written down is what was printed, without what differs from machine to
machine and from run to run (names of hosts and packages' servers), and long outputs without their middle.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.docs.markdown import Block, blocks
from tests.ways import containers
from tests.ways.transcript import Terminal, Transcript, main

MARK = "<!-- quickstart -->"
STAYS = "ossmount serve"
_HEAD = """# A quick start, as it went

What [README.md](../README.md) tells a newcomer to type, in a container with a fresh Debian 12 (`/dev/fuse`, CAP_SYS_ADMIN), and
what came of it. The machine below had two cores and a lot else to do; README has the figures of a quiet one. Written by
`python -m tests.ways.newcomer`; a test compares its commands with those of README.
"""
_LONG = 24  # lines of an output that are all shown
_FIRST, _LAST = 2, 6  # of a longer one
_WIDE = 120  # characters of a line that are all shown
_SERVERS = re.compile(r"https?://(?!127\.0\.0\.1)\S+")
_SCRATCH = re.compile(r"(/tmp/[a-z-]+-)[a-z0-9_]{8}\b")
_KERNEL = re.compile(r"\b(\d+\.\d+)\.\d+[\w.+-]*(?=: all features)")


class Written:
    """The transcript as Markdown, in the place of the lines on the screen, which go to stderr."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._open = False

    def heading(self, text: str) -> None:
        self.close()
        self.lines += ["", f"## {text}"]

    def open(self, note: str = "") -> None:
        self.close()
        self.lines += ["", note] if note else []
        self.lines += ["", "```console"]
        self._open = True

    def close(self) -> None:
        if self._open:
            self.lines.append("```")
        self._open = False

    def text(self) -> str:
        self.close()
        return _HEAD + "\n".join(self.lines) + "\n"


class Recorder(Transcript):
    """Takes down what a terminal shows."""

    def __init__(self, written: Written) -> None:
        self._written = written

    def command(self, prompt: str, text: str) -> None:
        first, *rest = text.splitlines()
        self._take([f"{prompt} {first}", *(f"> {line}" for line in rest)])

    def said(self, text: str) -> None:
        self._take(shortened(normalised(text)))

    def _take(self, lines: Iterable[str]) -> None:
        for line in lines:
            print(line, file=sys.stderr, flush=True)
            self._written.lines.append(line)


def normalised(text: str) -> list[str]:
    """Its lines, as another machine would show them; of a line that is written over and over the last state, of a long one the
    beginning."""
    lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    lines = [_KERNEL.sub(r"\1", _SCRATCH.sub(r"\1…", line)) for line in lines]
    lines = [line if len(line) <= _WIDE else f"{line[: _WIDE - 1]}…" for line in lines]
    return [line for line in lines if line and not _SERVERS.search(line)]


def shortened(lines: list[str]) -> list[str]:
    if len(lines) <= _LONG:
        return lines
    return [*lines[:_FIRST], f"[… {len(lines) - _FIRST - _LAST} lines …]", *lines[-_LAST:]]


def commands(text: str) -> list[str]:
    """The commands of a block: lines that go on and here-documents belong to the one that they begin in."""
    found: list[str] = []
    end = ""  # of a here-document
    joined = False
    for line in text.splitlines():
        if end or joined:
            found[-1] += f"\n{line}"
        elif line.strip():
            found.append(line)
        begins = re.search(r"<<'?(\w+)'?", line) if not end else None
        end = begins[1] if begins else "" if line == end else end
        joined = line.endswith("\\")
    return found


def typed(document: str) -> list[str]:
    """The commands of what way() has written."""
    found: list[str] = []
    for block in blocks(document):
        for line in block.text.splitlines():
            if line.startswith("$ ") and line != "$ ^C":
                found.append(line[2:])
            elif line.startswith("> "):
                found[-1] += f"\n{line[2:]}"
    return found


def quick_start(readme: str) -> list[tuple[str, Block]]:
    """The blocks that are marked, each with its heading."""
    lines = readme.splitlines()
    headings = [(number, line.lstrip("# ")) for number, line in enumerate(lines, 1) if re.match(r"#+ ", line)]
    marked = [block for block in blocks(readme) if block.mark == MARK]
    return [([text for number, text in headings if number < block.line][-1], block) for block in marked]


@contextlib.contextmanager
def clean_machine(folder: Path) -> Iterator[list[str]]:
    """The words that start a shell in it. It goes with its end."""
    containers.install_tools()
    image = containers.make_base(folder, containers.CLEAN)
    checkout = folder / "checkout"
    checkout.mkdir()
    files = containers.run(["git", "-C", str(containers.ROOT), "ls-files", "--cached", "-z"])
    tar = ["tar", "-C", str(containers.ROOT), "--null", "--no-recursion", "-T", "-", "-cf", str(folder / "checkout.tar")]
    subprocess.run(tar, input=files.encode(), check=True)
    containers.run(["tar", "-C", str(checkout), "-xf", str(folder / "checkout.tar"), "--no-same-owner"])
    options = [*containers.FUSE, "-d", "--hostname", "debian", "-v", f"{checkout}:/root/ossmount", *containers.trusted()]
    name = containers.run(containers.podman(image, ["sleep", "infinity"], *options, environ={})).strip()
    try:
        yield [*containers.PODMAN, "exec", "-i", "-w", "/root/ossmount", name, "bash"]
    finally:
        containers.run([*containers.PODMAN, "rm", "-f", "-t", "0", name])


def way(_: Transcript) -> None:
    """Raises Failed."""
    found = quick_start((containers.ROOT / "README.md").read_text("utf-8"))
    written = Written()
    recorder = Recorder(written)
    with contextlib.ExitStack() as stack:
        shell = stack.enter_context(clean_machine(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        terminal = stack.enter_context(Terminal(recorder, shell))
        heading, stays = "", None
        for name, block in found:
            if name != heading:
                written.heading(name)
                heading = name
            if stays is terminal:
                terminal = stack.enter_context(Terminal(recorder, shell))
            written.open("In another terminal:" if stays else "")
            for command in commands(block.text):
                if command.startswith(STAYS):
                    terminal.begin(command, until="serving ")
                    stays = terminal
                else:
                    terminal.run(command)
        if stays:
            written.open("And in the first one:")
            stays.interrupt()
    sys.stdout.write(written.text())


if __name__ == "__main__":
    sys.exit(main(way, last=""))
