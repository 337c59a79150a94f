"""The example Dockerfiles, built for real and run as containers. The project's own image: tests/ways/entrypoint.py."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.ways import containers
from tests.ways.containers import BASE, FUSE, ROOT
from tests.ways.entrypoint import FILES, TRAIN, TRAINING, bucket
from tests.ways.transcript import PATIENCE

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return containers.build_image(tmp_path_factory.mktemp("base"))


def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("example", ["pytorch", "paddle"])
def test_an_image_of_ones_own_in_two_lines(image: str, tmp_path: Path, example: str) -> None:
    """Over the base; the images that the examples name are some GB each. It runs as root, as most training images do."""
    mine = f"localhost/ossmount-test-{example}"
    context = ROOT / "examples" / example
    arguments = ("--build-arg", f"BASE={BASE}", "--build-context", f"ossmount=container-image://{image}")
    containers.build(context / "Dockerfile", context, mine, *arguments)
    with bucket(tmp_path) as (_, environ):
        done = run(containers.podman(mine, TRAIN, *FUSE, *TRAINING, environ=environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{FILES} files, uid 0")
    left = run(containers.podman(mine, ["sh", "-c", "command -v gcc"], "--entrypoint", "", environ={}))
    assert left.stdout == "", "the compiler is gone again"
