"""`mount.ossmount`: what mount(8) runs for `mount -t ossmount` and for lines of fstab with that type.

mount(8) calls it as `mount.ossmount SOURCE DIRECTORY [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`, with all options of the
line but those that are its own, and wants the exit codes of its own page.
"""

from __future__ import annotations

import getopt
import os
import re
import sys
from collections.abc import Sequence

from ossmount.cli import main as cli
from ossmount.exit_codes import ExitCode
from ossmount.options.gathering import is_known, split_mount_options

#: What mount(8) says by itself where a line says nothing of it, or says "user": there it asks for nothing.
_ITS_OWN = ("rw", "suid", "dev", "exec", "async", "user")
USAGE = "usage: mount.ossmount SOURCE DIRECTORY [-sfnv] [-o OPTION,...]"

# mount(8), "EXIT STATUS"
_OK, _WRONG, _INTERRUPTED, _FAILED = 0, 1, 8, 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Mounts; the exit code is one of mount(8)'s."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        flags, places = getopt.gnu_getopt(words, "sfnvhN:o:t:")
    except getopt.GetoptError as error:
        return _wrong(str(error))
    given = dict(flags)
    if "-h" in given:
        print(USAGE)
        return _OK
    if len(places) != 2:
        return _wrong("SOURCE and DIRECTORY are needed")
    if "-N" in given:
        return _wrong("-N: mount in another namespace with nsenter(1): nsenter --mount=... ossmount mount ...")
    texts = [text for flag, text in flags if flag == "-o"]
    source, directory = places
    return _mount(source, directory, options(",".join(texts), sloppy="-s" in given), fake="-f" in given)


def _wrong(message: str) -> int:
    print(f"mount.ossmount: {message}\n{USAGE}", file=sys.stderr)
    return _WRONG


def options(text: str, *, sloppy: bool) -> str:
    """The options for `ossmount mount -o`, without what mount(8) has added; for an ordinary user it adds his name."""
    parts = [part for part in re.findall(r"(?:\\.|[^,\\])+", text) if part not in _ITS_OWN]
    if os.geteuid() != 0:
        parts = [part for part in parts if not part.startswith("user=")]
    if sloppy:
        parts = [part for part in parts if all(is_known(name) for name, _ in split_mount_options(part))]
    return ",".join(parts)


def _mount(source: str, directory: str, text: str, *, fake: bool) -> int:
    """fake: everything is looked at, and nothing mounted."""
    address = source if "://" in source else f"oss://{source}"
    words = ["config", "show", "--given"] if fake else ["mount", address, directory]
    try:
        code = cli.main([*words, *(["-o", text] if text else [])])
    except SystemExit as end:
        code = int(end.code or 0)
    return {ExitCode.OK: _OK, ExitCode.USAGE: _WRONG, 130: _INTERRUPTED}.get(code, _FAILED)


if __name__ == "__main__":
    sys.exit(main())
