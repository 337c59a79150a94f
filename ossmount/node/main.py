"""`ossmount-node`: the two containers of the mounts of a Kubernetes node, and what is asked of them (kubernetes/)."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping, Sequence

from ossmount.exit_codes import ExitCode
from ossmount.node.keep import Settings, keep, say
from ossmount.node.probes import ask, drained
from ossmount.node.run import WrongEnvironment, wanted
from ossmount.node.starter import serve, socket_in

_MARGIN = 10.0  # seconds that a keeper needs beside those of its readers

USAGE = """usage: ossmount-node keeper|starter|health|ready|drained

keeper    mounts what OSSMOUNT_SOURCE and OSSMOUNT_MOUNTPOINT, or OSSMOUNT_MOUNTS="SOURCE=MOUNTPOINT ...", name, and keeps it
          mounted while the daemons below it come and go. Needs CAP_SYS_ADMIN, /dev/fuse and the mountpoints with Bidirectional
          propagation; needs no access keys. OSSMOUNT_NODE_USER (default ossmount) is who keepers run as;
          OSSMOUNT_NODE_DRAIN (default 20) how many seconds readers have for closing their files at SIGTERM.
starter   starts the daemons, in a container of its own without privileges: when it is killed or gets another image, readers
          see a pause. Has the access keys and the memory limit. Runs as the same user.
health    exit code 0 while all mounts have a living keeper and daemon; a store that does not answer is no matter.
ready     exit code 0 while OSS answers all of them as well.
drained   waits while a keeper waits for its readers, which need the daemons until then: for the starter's preStop.

Both find each other in OSSMOUNT_STATE_DIR (an emptyDir) and need one pid namespace (shareProcessNamespace: true).
All options of `ossmount mount` are variables of the keeper (OSSMOUNT_MEMORY_LIMIT=2G), and hold for all mounts; the second one
shows its numbers (OSSMOUNT_METRICS) at the next port, and so on.
"""


def settings_of(environ: Mapping[str, str]) -> Settings:
    """Raises WrongEnvironment."""
    name = environ.get("OSSMOUNT_NODE_USER", "ossmount")
    try:
        user = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise WrongEnvironment(f"OSSMOUNT_NODE_USER: there is no user {name}") from None
    try:
        drain = float(environ.get("OSSMOUNT_NODE_DRAIN", "20"))
    except ValueError:
        raise WrongEnvironment("OSSMOUNT_NODE_DRAIN is not a number of seconds") from None
    return Settings(user.pw_uid, user.pw_gid, state_of(environ), drain, dict(environ))


def state_of(environ: Mapping[str, str]) -> str:
    """Raises WrongEnvironment."""
    folder = environ.get("OSSMOUNT_STATE_DIR", "")
    if not folder.startswith("/"):
        raise WrongEnvironment("OSSMOUNT_STATE_DIR must name the folder that keeper and starter share")
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--help"], ["-h"]):
        print(USAGE, end="")
        return ExitCode.OK
    try:
        if words == ["keeper"]:
            return keep(wanted(os.environ), settings_of(os.environ))
        if words == ["starter"]:
            return serve(socket_in(state_of(os.environ)))
        if words in (["health"], ["ready"]):
            return ask(wanted(os.environ), f"--{words[0]}")
        if words == ["drained"]:
            return drained(state_of(os.environ), settings_of(os.environ).drain + _MARGIN)
    except WrongEnvironment as error:
        say(str(error))
        return ExitCode.USAGE
    print(USAGE, end="", file=sys.stderr)
    return ExitCode.USAGE


if __name__ == "__main__":
    sys.exit(main())
