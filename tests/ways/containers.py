"""Building images and running containers with buildah, podman and runc, from bases made with debootstrap."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.ways.transcript import PATIENCE, Failed

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/ossmount-test"
BASE = "localhost/ossmount-test-base"  # Debian's Python and nothing else
CLEAN = "localhost/ossmount-test-debian"  # what a fresh Debian has
_PACKAGES = {BASE: ["--include=ca-certificates,python3,python3-venv"], CLEAN: []}
TOOLS = ("buildah", "podman", "runc", "debootstrap")

#: With cgroup v1 podman must be told its manager and its runtime.
PODMAN = ("podman", "--cgroup-manager", "cgroupfs", "--runtime", "runc")
LIMITS = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:2048")  # ours may be lower than podman's own
UNASKED = "--no-healthcheck"  # podman has systemd ask, and complains of a machine without
FUSE = ("--device", "/dev/fuse", "--cap-add", "SYS_ADMIN")

_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
#: How pip of this machine finds its packages and trusts them; an image is built with the same.
_FROM_HERE = ("/etc/ssl/certs", "/etc/pip.conf")


def install_tools() -> None:
    """With apt, when they are missing."""
    missing = [name for name in TOOLS if subprocess.run(["dpkg", "-s", name], capture_output=True, check=False).returncode]
    if missing:
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, "crun-"])


def make_base(folder: Path, name: str = BASE) -> str:
    """The image of that name; kept, since it takes a minute. folder: a scratch one."""
    if subprocess.run(["buildah", "inspect", "--type", "image", name], capture_output=True, check=False).returncode:
        root = folder / "base"
        run(["debootstrap", "--variant=minbase", *_PACKAGES[name], "bookworm", str(root)])
        container = run(["buildah", "from", "scratch"]).strip()
        run(["buildah", "add", "-q", container, str(root), "/"])
        run(["buildah", "commit", "-q", "--rm", container, name])
    return name


def build(dockerfile: Path, context: Path, image: str, *more: str) -> None:
    volumes = [word for path in _FROM_HERE if os.path.exists(path) for word in ("-v", f"{path}:{path}:ro")]
    words = ["buildah", "bud", "--layers", "--isolation", "chroot", "--network", "host", "--format", "docker", *volumes, *more]
    run([*words, "-f", str(dockerfile), "-t", image, str(context)])


def build_image(folder: Path) -> str:
    """The image of the Dockerfile, from the base. folder: a scratch one."""
    install_tools()
    build(ROOT / "Dockerfile", ROOT, IMAGE, "--build-arg", f"PYTHON={make_base(folder)}")
    return IMAGE


def podman(image: str, command: Sequence[str], *options: str, environ: Mapping[str, str]) -> list[str]:
    """The words that run a container on this machine's network."""
    variables = [word for name, value in environ.items() for word in ("-e", f"{name}={value}")]
    return [*PODMAN, "run", "--rm", "--network", "host", *LIMITS, *options, *variables, image, *command]


def trusted() -> list[str]:
    """Options with which pip in a container trusts what this machine trusts."""
    if not os.path.exists(_AUTHORITIES):
        return []
    return ["-v", f"{_AUTHORITIES}:/run/trusted.crt:ro", "-e", "PIP_CERT=/run/trusted.crt"]


def run(words: Sequence[str]) -> str:
    """Its output. Raises Failed, with what it complained of."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout
