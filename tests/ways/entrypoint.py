"""The second way of use: `ossmount-run` as the entrypoint of a container, with the image of the Dockerfile.

`python -m tests.ways.entrypoint`, as root. Builds the image with buildah from a base that debootstrap makes, and runs it with
podman, runc and /dev/fuse against the embedded server.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from ossmount.emulator.faults import Fault
from ossmount.emulator.server import EmulatedServer
from tests.ways import containers
from tests.ways.containers import FUSE, IMAGE, PODMAN, ROOT, UNASKED
from tests.ways.transcript import PATIENCE, Transcript, main

FILES = 200
TRAINING = ("-v", f"{ROOT}/tests/ways/train.py:/train.py:ro")
TRAIN = ("python3", "/train.py", "--data", "/mnt/data")


@contextlib.contextmanager
def bucket(folder: Path) -> Iterator[tuple[EmulatedServer, dict[str, str]]]:
    """A server with small files, and the environment of a container that mounts it."""
    with EmulatedServer(folder) as server:
        for number in range(FILES):
            server.store.put("my-bucket", b"imagenet/%02d/%03d.jpg" % (number % 7, number), b"%03d" % number * 4000)
        yield (
            server,
            {
                "OSS_ACCESS_KEY_ID": server.access_key_id,
                "OSS_ACCESS_KEY_SECRET": server.access_key_secret,
                "OSSMOUNT_ENDPOINT": server.url,
                "OSSMOUNT_SOURCE": "oss://my-bucket/imagenet",
                "OSSMOUNT_MOUNTPOINT": "/mnt/data",
            },
        )


def way(transcript: Transcript) -> None:
    """Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="ossmount-way-") as name:
        folder = Path(name)
        transcript.step("The image")
        containers.build_image(folder)
        (folder / "bucket").mkdir()
        with bucket(folder / "bucket") as (server, environ):
            a_training_loop(transcript, environ)
            its_end(transcript, environ)
            its_health(transcript, environ, server)


def ended(transcript: Transcript, environ: dict[str, str], command: Sequence[str], *options: str) -> tuple[int, str, str]:
    """Runs a container to its end: its exit code, stdout and stderr."""
    words = containers.podman(IMAGE, command, *options, UNASKED, environ=environ)
    transcript.command("$", f"podman run … {' '.join(options)} ossmount {' '.join(command)}")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    transcript.said(done.stderr + done.stdout)
    return done.returncode, done.stdout, done.stderr


def a_training_loop(transcript: Transcript, environ: dict[str, str]) -> None:
    transcript.step("A training loop, two epochs, as the image's own user")
    code, said, _ = ended(transcript, environ, TRAIN, *FUSE, *TRAINING)
    transcript.holds(
        code == 0 and said.startswith(f"{FILES} files, uid 10001"), "read by an ordinary user, the same bytes twice"
    )

    transcript.step("Without the device")
    code, _, complaint = ended(transcript, environ, ["true"])
    transcript.holds(code == 8 and "/dev/fuse" in complaint, "it says what is missing, exit code 8")


def its_end(transcript: Transcript, environ: dict[str, str]) -> None:
    transcript.step("Exit codes and signals")
    code, _, _ = ended(transcript, environ, ["sh", "-c", 'ossmount status --health "$OSSMOUNT_MOUNTPOINT" && exit 9'], *FUSE)
    transcript.holds(code == 9, "the command's exit code is the container's")
    script = 'trap "echo told; exit 3" TERM; echo ready; while :; do sleep 0.1; done'
    words = containers.podman(IMAGE, ["sh", "-c", script], *FUSE, UNASKED, environ=environ)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        transcript.said(process.stdout.readline())
        process.send_signal(signal.SIGTERM)  # podman hands it to the first process of the container
        transcript.command("$", "podman kill --signal TERM …")
        said = process.communicate(timeout=PATIENCE)[0]
    transcript.holds((said, process.returncode) == ("told\n", 3), "SIGTERM reaches the command, which ends as it likes")


def its_health(transcript: Transcript, environ: dict[str, str], server: EmulatedServer) -> None:
    transcript.step("The image's HEALTHCHECK")
    name = f"ossmount-{uuid.uuid4().hex[:8]}"
    containers.run(containers.podman(IMAGE, [], *FUSE, "-d", "--name", name, environ=environ))

    def healthy() -> bool:
        return subprocess.run([*PODMAN, "healthcheck", "run", name], capture_output=True, check=False).returncode == 0

    try:
        transcript.eventually(healthy, "podman finds it healthy")
        outage = server.faults.add(Fault(status=503, code="ServiceUnavailable"))
        server.drop_connections()
        transcript.holds(healthy(), "also while OSS does not answer")
        server.faults.remove(outage)
        containers.run([*PODMAN, "exec", name, "ossmount", "umount", "/mnt/data"])
        transcript.eventually(lambda: not healthy(), "and no more once the mount is gone")
    finally:
        subprocess.run([*PODMAN, "rm", "-f", "-t", "0", name], capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main(way))
