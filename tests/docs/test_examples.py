"""The examples of the guides work: each block behind `<!-- run -->` is run, against the embedded server and with real mounts.

The blocks of a guide are run in their order, as one session, in a mount and a process namespace of their own: /mnt and /etc are
the session's, and its end takes mounts and processes along, also when an example fails. Each line of a block behind
`<!-- shows -->` must be in the output of the block before it, in this order; … stands for anything.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, RUN, SHOWS, Block, blocks
from tests.mount.support import Workshop, workshop

LIMIT = 300  # seconds, against hanging only
GUIDES = ("training", "operations", "troubleshooting", "migration")
IMAGES = 60  # in three folders
BEGIN = "@@ example at line"

_SESSION = """
set -euo pipefail
cp -a /etc {folder}/etc && mount --bind {folder}/etc /etc
mkdir {folder}/mnt && mount --bind {folder}/mnt /mnt
mkdir -p /mnt/imagenet /mnt/models /mnt/cache /etc/ossmount
cd {folder}
"""


def fill(shop: Workshop) -> None:
    """What the examples read: small images in folders and a file of weights."""
    store = shop.server.store
    store.create_bucket("my-bucket")
    for number in range(IMAGES):
        store.put("my-bucket", b"imagenet/train/%03d/%03d.jpg" % (number % 3, number), bytes([number]) * 20_000)
    store.put("my-bucket", b"models/base/model.safetensors", bytes(range(256)) * (8 << 10))


def script(examples: Sequence[Block], folder: Path) -> str:
    """All of them one after the other, each behind a line that names its place."""
    parts = [_SESSION.format(folder=shlex.quote(str(folder)))]
    for block in examples:
        parts.append(f"echo; echo '{BEGIN} {block.line}'")
        parts.append(block.text if block.language == "sh" else f"python - <<'END_OF_EXAMPLE'\n{block.text}\nEND_OF_EXAMPLE")
    return "\n".join(parts)


def commands(folder: Path) -> Path:
    """`ossmount` and `python` of these tests, by the names that the guides call them."""
    place = folder / "commands"
    place.mkdir()
    for name, words in {"ossmount": [sys.executable, "-m", "ossmount"], "python": [sys.executable]}.items():
        (place / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (place / name).chmod(0o755)
    return place


def shown(lines: str, output: str) -> list[str]:
    """Those of the lines that the output does not show."""
    missing, at = [], 0
    for line in filter(str.strip, lines.splitlines()):
        pattern = r"\s+".join(re.escape(word).replace("…", ".*") for word in line.split())
        found = re.compile(pattern).search(output, at)
        if found is None:
            missing.append(line)
        else:
            at = found.end()
    return missing


def outputs(text: str) -> dict[int, str]:
    """By the line of the example, what it wrote."""
    parts = re.split(rf"^{BEGIN} (\d+)\n", text, flags=re.MULTILINE)
    return {int(line): output for line, output in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.timeout(2 * LIMIT)
@pytest.mark.parametrize("guide", GUIDES)
def test_examples_do_what_the_guide_says(guide: str) -> None:
    found = list(blocks((ROOT / "docs" / f"{guide}.md").read_text(encoding="utf-8")))
    examples = [block for block in found if block.mark == RUN]
    assert examples, "a guide without an example that is run"
    with workshop() as shop:
        fill(shop)
        environment = {**shop.environment, "OSS_ENDPOINT": shop.server.url}
        del environment["OSSMOUNT_ENDPOINT"]  # it would go before the one that a guide names
        environment["PATH"] = f"{commands(shop.folder)}:{environment['PATH']}"
        namespaces = ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        done = subprocess.run(
            [*namespaces, "bash", "-c", script(examples, shop.folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        said = outputs(done.stdout)
        assert done.returncode == 0, f"docs/{guide}.md: ended with {done.returncode}:\n{done.stdout}\n{shop.log(shop.folder)}"
    assert list(said) == [block.line for block in examples]
    last = 0
    for block in found:
        last = block.line if block.mark == RUN else last
        if block.mark == SHOWS:
            assert shown(block.text, said[last]) == [], f"docs/{guide}.md:{block.line} is not shown by:\n{said[last]}"


def test_a_line_that_is_not_shown_is_found() -> None:
    assert shown("a … c\nd", "x\na b  c\nd\n") == []
    assert shown("a … c\nd", "d\na b c\n") == ["d"]
