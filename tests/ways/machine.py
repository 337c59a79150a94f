"""systemd/ossmount@.service under systemd as the first process of a machine: a container that boots.

`python -m tests.ways.machine`, as root. The container has CAP_SYS_ADMIN, /dev/fuse and a cgroup tree of its own, and no more:
/sys is read-only for it, so that nothing that a boot does reaches this machine.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from ossmount.emulator.server import EmulatedServer
from tests.ways import containers
from tests.ways.containers import BASE, FUSE, IMAGE, PODMAN, ROOT, UNASKED
from tests.ways.transcript import Terminal, Transcript, main

FILES = 100
AUTOFS = "/dev/autofs"
BOOTS = f"{IMAGE}-boots"
_DOCKERFILE = f"""
FROM {BASE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends systemd-sysv dbus fuse3
COPY --from={IMAGE} /opt/ossmount /opt/ossmount
RUN ln -s /opt/ossmount/bin/ossmount* /usr/local/bin/ && mkdir -p /etc/ossmount /mnt/imagenet
COPY systemd/ossmount@.service /etc/systemd/system/
COPY systemd/mnt-imagenet.mount systemd/mnt-imagenet.automount /etc/systemd/system/
"""
#: The watchdog of the unit, sooner.
_IMPATIENT = "[Service]\\nWatchdogSec=30\\n"
_UNIT = "ossmount@mnt-imagenet"
_NUMBER = "findmnt -n -o ID,SOURCE -t fuse.ossmount /mnt/imagenet"  # of the mount: another one has another
_DIGEST = "cd /mnt/imagenet && find . -type f | sort | xargs sha256sum | sha256sum; cd /"


def _until(condition: str) -> str:
    """A command that ends once the condition holds, or with 124."""
    return f"timeout 300 sh -c {shlex.quote(f'until {condition}; do sleep 1; done')}"


@contextlib.contextmanager
def machine(transcript: Transcript, folder: Path) -> Iterator[Terminal]:
    """A shell on it, once it has booted. It goes with its end."""
    containers.build_image(folder)
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    containers.build(folder / "Dockerfile", ROOT, BOOTS, "--ignorefile", "/dev/null")
    name = f"ossmount-{uuid.uuid4().hex[:8]}"
    options = [*FUSE, "-d", "--name", name, "--systemd", "always", UNASKED, "--security-opt", "seccomp=unconfined"]
    options += ["--device", AUTOFS] if os.path.exists(AUTOFS) else []
    containers.run(containers.podman(BOOTS, ["/sbin/init"], *options, environ={}))
    try:
        with Terminal(transcript, [*PODMAN, "exec", "-i", name, "bash"]) as terminal:
            yield terminal
    finally:
        subprocess.run([*PODMAN, "rm", "-f", "-t", "0", name], capture_output=True, check=False)


def way(transcript: Transcript) -> None:
    """Raises Failed."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ossmount-way-")))
        (folder / "bucket").mkdir()
        server = stack.enter_context(EmulatedServer(folder / "bucket"))
        for number in range(FILES):
            server.store.put("my-bucket", b"imagenet/%02d/%03d.jpg" % (number % 4, number), b"%03d" % number * 5000)
        transcript.step("A machine boots")
        terminal = stack.enter_context(machine(transcript, folder))
        terminal.run(_until('systemctl is-system-running 2>&1 | grep -qx "running"'))
        started(transcript, terminal, server.url)
        disturbed(transcript, terminal)
        ended(transcript, terminal)
        mounted_by_a_unit(transcript, terminal)


def started(transcript: Transcript, terminal: Terminal, url: str) -> None:
    transcript.step("The unit is set up as its first lines say, and started")
    terminal.run(
        "ossmount config init mnt-imagenet --source oss://my-bucket/imagenet --mountpoint /mnt/imagenet"
        f" --endpoint {url} && echo 'memory_limit = \"64M\"' >> /etc/ossmount/mnt-imagenet.toml"
    )
    terminal.run(
        "(umask 077; printf 'OSS_ACCESS_KEY_ID=test-id\\nOSS_ACCESS_KEY_SECRET=test-secret\\n'"
        " > /etc/ossmount/mnt-imagenet.secret)"
    )
    terminal.run(f"systemctl start {_UNIT}")
    transcript.holds(terminal.run(f"systemctl is-active {_UNIT}").strip() == "active", "active")
    count = terminal.run("find /mnt/imagenet -type f | wc -l").strip()
    transcript.holds(count == str(FILES), "whatever comes after it finds the bucket mounted")


def disturbed(transcript: Transcript, terminal: Terminal) -> None:
    number, digest = terminal.run(_NUMBER), terminal.run(_DIGEST)
    transcript.step("New options by `systemctl reload`, under a mount that stays")
    terminal.run("sed -i 's/^memory_limit.*/memory_limit = \"96M\"/' /etc/ossmount/mnt-imagenet.toml")
    terminal.run(f"systemctl reload {_UNIT}")
    transcript.holds("96M" in terminal.run("ossmount status /mnt/imagenet | grep memory_limit"), "they are in force")
    transcript.holds(terminal.run(_NUMBER) == number and terminal.run(_DIGEST) == digest, "the same mount, the same bytes")

    transcript.step("The daemon dies")
    pid = 'import json, sys; print(json.load(sys.stdin)["daemon_pid"])'
    terminal.run(f"kill -9 $(ossmount status --json /mnt/imagenet | python3 -c '{pid}')")
    transcript.holds(terminal.run(_DIGEST) == digest, "its readers wait for the next one")
    transcript.holds(terminal.run(_NUMBER) == number, "the same mount")
    restarts = terminal.run(f"systemctl show -p NRestarts,ActiveState {_UNIT}")
    transcript.holds("NRestarts=0" in restarts and "ActiveState=active" in restarts, "and the unit has noticed nothing")

    transcript.step("The keeper hangs: the watchdog's affair")
    terminal.run(
        f"mkdir /etc/systemd/system/{_UNIT}.service.d && printf '{_IMPATIENT}' > /etc/systemd/system/{_UNIT}.service.d/w.conf"
    )
    terminal.run(f"systemctl daemon-reload && systemctl restart {_UNIT}")
    transcript.holds(terminal.run(_DIGEST) == digest, "mounted anew by a restart")
    terminal.run(f"kill -STOP $(systemctl show -P MainPID {_UNIT})")
    terminal.run(_until(f"systemctl show -P NRestarts {_UNIT} | grep -qx 1"))
    terminal.run(_until(f"systemctl is-active --quiet {_UNIT}"))
    transcript.holds(terminal.run(_DIGEST) == digest, "systemd has started it anew, and the bucket is mounted again")


def ended(transcript: Transcript, terminal: Terminal) -> None:
    transcript.step("Stopped")
    terminal.run(f"systemctl stop {_UNIT}")
    transcript.holds(terminal.run(f"systemctl show -P Result {_UNIT}").strip() == "success", "it has ended in order")
    transcript.holds(terminal.run("ls /mnt/imagenet; findmnt /mnt/imagenet || true").strip() == "", "nothing is mounted")
    transcript.holds(terminal.run("ossmount status --json").strip() == "[]", "and no process is left")


def mounted_by_a_unit(transcript: Transcript, terminal: Terminal) -> None:
    transcript.step("The mount unit, by mount(8) and its helper; keys stand in a file that the configuration names")
    terminal.run(
        '(umask 077; printf \'{"AccessKeyId": "test-id", "AccessKeySecret": "test-secret"}\' > /etc/ossmount/keys.json)'
        " && echo 'credentials = \"/etc/ossmount/keys.json\"' >> /etc/ossmount/mnt-imagenet.toml"
    )
    terminal.run("ossmount install-mount-helper")
    terminal.run("systemctl start mnt-imagenet.mount")
    count = terminal.run("find /mnt/imagenet -type f | wc -l").strip()
    transcript.holds(count == str(FILES), "whatever comes after it finds the bucket mounted")
    terminal.run("systemctl stop mnt-imagenet.mount")
    transcript.holds(terminal.run("ls /mnt/imagenet").strip() == "", "and stopped, it is gone")

    transcript.step("The automount unit")
    if not os.path.exists(AUTOFS):
        transcript.said("not tried: this machine's kernel has no autofs")
        return
    terminal.run("systemctl start mnt-imagenet.automount")
    transcript.holds(terminal.run("findmnt -n -t fuse.ossmount || true") == "", "nothing is mounted until somebody looks")
    # By ls: find leaves out a folder that became another one while it looked.
    transcript.holds(terminal.run("ls /mnt/imagenet").split() == ["00", "01", "02", "03"], "who looks finds it mounted")
    count = terminal.run("find /mnt/imagenet -type f | wc -l").strip()
    transcript.holds(count == str(FILES), "all of it")
    terminal.run("systemctl stop mnt-imagenet.automount mnt-imagenet.mount")


if __name__ == "__main__":
    sys.exit(main(way))
