"""The Dockerfile and the examples, built for real and run as containers: a training loop reads the embedded server's bucket."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.emulator.server import EmulatedServer
from tests.images import containers
from tests.images.containers import BASE, FUSE, IMAGE, ROOT

pytestmark = pytest.mark.stress
LIMIT = 120.0  # seconds, against hanging only


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of the Dockerfile."""
    containers.install_tools()
    containers.make_base(tmp_path_factory.mktemp("base"))
    containers.build(ROOT / "Dockerfile", ROOT, IMAGE, "--build-arg", f"PYTHON={BASE}")
    return IMAGE


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    with EmulatedServer(tmp_path) as server:
        for number in range(200):
            server.store.put("data", b"train/%02d/%03d" % (number % 7, number), b"%d" % number * 4000)
        yield {
            "OSS_ACCESS_KEY_ID": "test-id",
            "OSS_ACCESS_KEY_SECRET": "test-secret",
            "OSSMOUNT_ENDPOINT": server.url,
            "OSSMOUNT_SOURCE": "oss://data/train",
            "OSSMOUNT_MOUNTPOINT": "/mnt/data",
        }


TRAINING = ("-v", f"{Path(__file__).parent / 'training.py'}:/training.py:ro")


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)


@pytest.mark.timeout(2400)
def test_a_training_loop_in_a_container(image: str, environ: dict[str, str]) -> None:
    command = ["python3", "/training.py", "/mnt/data"]
    done = run(containers.podman(image, command, *FUSE, *TRAINING, environ=environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("200 files, uid 10001:"), "not root"


def test_its_exit_code_and_its_health(image: str, environ: dict[str, str]) -> None:
    done = run(
        containers.podman(
            image, ["sh", "-c", 'ossmount status --health "$OSSMOUNT_MOUNTPOINT" && exit 9'], *FUSE, environ=environ
        )
    )
    assert done.returncode == 9, done.stderr
    inspected = json.loads(containers.run(["podman", "image", "inspect", image]))[0]
    assert "--health" in str(inspected["Healthcheck"])


def test_without_the_device_it_says_what_is_missing(image: str, environ: dict[str, str]) -> None:
    done = run(containers.podman(image, ["true"], environ=environ))
    assert done.returncode == 8 and "/dev/fuse" in done.stderr


def test_a_stop_of_the_container_reaches_the_command(image: str, environ: dict[str, str]) -> None:
    script = 'trap "echo told; exit 3" TERM; echo ready; while :; do sleep 0.1; done'
    words = containers.podman(image, ["sh", "-c", script], *FUSE, environ=environ)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)  # podman hands it to the first process of the container
    assert process.communicate(timeout=LIMIT)[0] == "told\n"
    assert process.returncode == 3


@pytest.mark.parametrize("example", ["pytorch", "paddle"])
@pytest.mark.timeout(2400)
def test_an_image_of_ones_own_in_two_lines(image: str, environ: dict[str, str], example: str) -> None:
    """Over the base; the images that the examples name are some GB each. It runs as root, as most training images do."""
    mine = f"localhost/ossmount-test-{example}"
    context = ROOT / "examples" / example
    arguments = ("--build-arg", f"BASE={BASE}", "--build-context", f"ossmount=container-image://{image}")
    containers.build(context / "Dockerfile", context, mine, *arguments)
    done = run(containers.podman(mine, ["python3", "/training.py", "/mnt/data"], *FUSE, *TRAINING, environ=environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("200 files, uid 0:")
    left = run(containers.podman(mine, ["sh", "-c", "command -v gcc"], "--entrypoint", "", environ={}))
    assert left.stdout == "", "the compiler is gone again"
