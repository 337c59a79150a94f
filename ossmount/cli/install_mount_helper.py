"""`ossmount install-mount-helper`: lets mount(8) and fstab mount buckets."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import site
import sys
from pathlib import Path

import ossmount
from ossmount.exit_codes import CommandError, ExitCode

DESCRIPTION = """Installs mount.ossmount, which mount(8) runs for file systems of the type ossmount:
  mount -t ossmount oss://my-bucket/train /mnt/train -o config=train
and as a line of /etc/fstab (credentials, endpoint and whatever else stand in /etc/ossmount/train.toml):
  oss://my-bucket/train /mnt/train ossmount config=train,_netdev,nofail,noauto,x-systemd.automount 0 0
It is a script of four lines that runs the ossmount of this Python; run this command again when that
has moved."""

NAME = "mount.ossmount"
_MARK = "ossmount.cli.mount_helper"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--directory", metavar="DIR", type=Path, default=Path("/sbin"), help="where mount(8) looks (default %(default)s)"
    )
    parser.add_argument("--remove", action="store_true", help="take it away again")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def run(arguments: argparse.Namespace) -> int:
    path: Path = arguments.directory / NAME
    try:
        if path.exists() and _MARK not in path.read_text("utf-8", "replace"):
            raise CommandError(ExitCode.USAGE, f"{path} is something else; take it away first")
        if arguments.remove:
            path.unlink(missing_ok=True)
        else:
            _install(path)
        if arguments.json:
            print(json.dumps({"file": str(path), "installed": not arguments.remove}))
        elif arguments.remove:
            print(f"{path} is gone")
        else:
            print(f"installed {path}; now: mount -t ossmount oss://BUCKET/PREFIX MOUNTPOINT -o ...")
    except OSError as error:
        root = "" if os.geteuid() == 0 else "; this is for root"
        raise CommandError(ExitCode.UNEXPECTED, f"{path}: {error.strerror}{root}") from None
    return ExitCode.OK


def _install(path: Path) -> None:
    """Never half of it: mount(8) may look at any moment."""
    new = path.with_name(f".{NAME}.{os.getpid()}")
    try:
        new.write_text(script(), "utf-8")
        new.chmod(0o755)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def script() -> str:
    """The helper. -I: neither the folder nor the environment of who mounts chooses what root runs."""
    home = str(Path(ossmount.__file__).parent.parent)
    installed = home in (*site.getsitepackages(), site.getusersitepackages())
    find = "" if installed else f"sys.path.insert(0, {home!r}); "
    code = f"import sys; {find}from {_MARK} import main; sys.exit(main())"
    return (
        "#!/bin/sh\n"
        "# mount(8) runs this for file systems of the type ossmount. Written by `ossmount install-mount-helper`.\n"
        f'exec {shlex.quote(sys.executable)} -I -c {shlex.quote(code)} "$@"\n'
    )
