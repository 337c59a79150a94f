"""The first way of use, on this machine: a command, a configuration file, and a line of fstab.

`python -m tests.ways.mount`, as root. In a mount and a process namespace of its own, where /etc, /sbin and all folders that are
written to are its own as well: the machine keeps its fstab and gets no helper, and whatever ends this program ends daemons and
mounts with it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from ossmount.emulator.server import EmulatedServer
from tests.ways.transcript import Failed, Terminal, Transcript, main

FILES = 100
_NAMESPACES = ("/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_PRIVATE = """
set -e
cd {folder}
cp -a /etc/. etc; cp -a /sbin/. sbin
for place in etc sbin mnt run var/cache; do mount --bind {folder}/$place /$place; done
"""


def way(transcript: Transcript) -> None:
    """Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="ossmount-way-") as folder:
        done = subprocess.run([*_NAMESPACES, sys.executable, "-m", "tests.ways.mount", folder], check=False)
    if done.returncode:
        raise Failed(f"it ended with {done.returncode}")


def inside(transcript: Transcript, folder: Path) -> None:
    """The way itself, in the namespaces."""
    for place in ("etc", "sbin", "mnt", "run", "var/cache"):
        (folder / place).mkdir(parents=True)
    subprocess.run(["bash", "-c", _PRIVATE.format(folder=shlex.quote(str(folder)))], check=True)
    with EmulatedServer(folder / "server") as server:
        for number in range(FILES):
            server.store.put("my-bucket", b"imagenet/train/%02d/%03d.jpg" % (number % 4, number), b"%03d" % number * 5000)
        with Terminal(transcript, ["bash"], env=environment(server.url)) as terminal:
            by_command(transcript, terminal)
            by_fstab(transcript, terminal, server.url)


def environment(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OSS", "XDG_"))}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OSS_ACCESS_KEY_ID": "test-id",
        "OSS_ACCESS_KEY_SECRET": "test-secret",
        "OSS_ENDPOINT": url,
        "OSSMOUNT_MEMORY_LIMIT": "64M",
    }


def by_command(transcript: Transcript, terminal: Terminal) -> None:
    transcript.step("By a command")
    said = terminal.run("ossmount doctor oss://my-bucket/imagenet")
    transcript.holds("A mount will work." in said, "doctor finds nothing in the way")
    terminal.run("mkdir -p /mnt/imagenet && ossmount mount oss://my-bucket/imagenet /mnt/imagenet")
    digest = terminal.run("cd /mnt/imagenet && find . -type f | sort | xargs sha256sum | sha256sum; cd /")
    terminal.run("ossmount status --ready /mnt/imagenet")
    terminal.run("ossmount restart /mnt/imagenet --memory-limit 96M")
    again = terminal.run("cd /mnt/imagenet && find . -type f | sort | xargs sha256sum | sha256sum; cd /")
    transcript.holds(digest == again, "the same bytes after a restart with another option")
    terminal.run("ossmount umount /mnt/imagenet")
    transcript.holds(terminal.run("ls /mnt/imagenet").strip() == "", "nothing is left of it")


def by_fstab(transcript: Transcript, terminal: Terminal, url: str) -> None:
    transcript.step("By a configuration file; at boot there is no environment, so keys and endpoint stand in files")
    terminal.run("unset OSS_ACCESS_KEY_ID OSS_ACCESS_KEY_SECRET OSS_ENDPOINT")
    terminal.run("mkdir -p /etc/ossmount")
    terminal.run(
        '(umask 077; printf \'{"AccessKeyId": "test-id", "AccessKeySecret": "test-secret"}\' > /etc/ossmount/keys.json)'
    )
    terminal.run(
        "ossmount config init imagenet --source oss://my-bucket/imagenet --mountpoint /mnt/imagenet --profile training"
        f" --endpoint {url} && echo 'credentials = \"/etc/ossmount/keys.json\"' >> /etc/ossmount/imagenet.toml"
    )
    terminal.run("ossmount config check imagenet")
    terminal.run("ossmount mount --config imagenet && ls /mnt/imagenet/train && ossmount umount /mnt/imagenet")

    transcript.step("By mount(8) and a line of fstab")
    terminal.run("ossmount install-mount-helper")
    terminal.run("mount -t ossmount oss://my-bucket/imagenet /mnt/imagenet -o config=imagenet")
    terminal.run("findmnt -n -o SOURCE,FSTYPE,TARGET /mnt/imagenet")
    terminal.run("umount /mnt/imagenet")
    line = "oss://my-bucket/imagenet /mnt/imagenet ossmount config=imagenet,_netdev,nofail,x-systemd.automount 0 0"
    terminal.run(f"echo '{line}' > /etc/fstab")
    terminal.run("mount -a && mount -a")  # what is mounted stays, and is not mounted twice
    transcript.holds(terminal.run("findmnt -n -o TARGET /mnt/imagenet").split() == ["/mnt/imagenet"], "mounted once")
    count = terminal.run("find /mnt/imagenet -type f | wc -l").strip()
    transcript.holds(count == str(FILES), f"all {FILES} files")
    terminal.run("umount /mnt/imagenet")
    transcript.eventually(lambda: terminal.run("ossmount status --json").strip() == "[]", "no process is left of it")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(main(lambda transcript: inside(transcript, Path(sys.argv[1])), last=""))
    sys.exit(main(way))
