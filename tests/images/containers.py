"""Building images and running containers with buildah, podman and runc, from a base made with debootstrap."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE = "localhost/ossmount-test-base"
IMAGE = "localhost/ossmount-test"
PACKAGES = ("buildah", "podman", "runc", "debootstrap")
_PATIENCE = 1200.0  # seconds for a step: it may fetch packages

#: How pip of this machine finds its packages and trusts them; an image is built with the same.
_FROM_HERE = ("/etc/ssl/certs", "/etc/pip.conf")


def install_tools() -> None:
    """With apt, when they are missing."""
    missing = [name for name in PACKAGES if subprocess.run(["dpkg", "-s", name], capture_output=True, check=False).returncode]
    if missing:
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, "crun-"])


def make_base(folder: Path) -> None:
    """An image with Debian's Python and nothing else; kept, since it takes a minute."""
    if subprocess.run(["buildah", "inspect", BASE], capture_output=True, check=False).returncode == 0:
        return
    root = folder / "base"
    run(["debootstrap", "--variant=minbase", "--include=ca-certificates,python3,python3-venv", "bookworm", str(root)])
    container = run(["buildah", "from", "scratch"]).strip()
    run(["buildah", "add", "-q", container, str(root), "/"])
    run(["buildah", "commit", "-q", "--rm", container, BASE])


def build(dockerfile: Path, context: Path, image: str, *more: str) -> None:
    volumes = [word for path in _FROM_HERE if os.path.exists(path) for word in ("-v", f"{path}:{path}:ro")]
    words = ["buildah", "bud", "--isolation", "chroot", "--network", "host", "--format", "docker", *volumes, *more]
    run([*words, "-f", str(dockerfile), "-t", image, str(context)])


def podman(image: str, command: Sequence[str], *options: str, environ: Mapping[str, str]) -> list[str]:
    """The words that run a container on this machine's network; with cgroup v1 podman must be told its manager."""
    variables = [word for name, value in environ.items() for word in ("-e", f"{name}={value}")]
    limits = ["--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:2048"]  # ours may be lower than podman's own
    words = ["podman", "--cgroup-manager", "cgroupfs", "--runtime", "runc", "run", "--rm", "--network", "host", *limits]
    return [*words, *options, *variables, image, *command]


FUSE = ("--device", "/dev/fuse", "--cap-add", "SYS_ADMIN")


def run(words: Sequence[str]) -> str:
    """Its output; what it complained of is in the failure."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    sys.stdout.write(done.stderr[-2000:])
    return done.stdout
