"""The process of a background daemon: `python -m ossmount.daemon SOURCE MOUNTPOINT REPORT KEEPER`, its order on stdin.

REPORT is the descriptor on which it reports to the command, KEEPER that of the socket to its keeper; -1 where there is none.
"""

from __future__ import annotations

import gc
import os
import sys

from ossmount.daemon.handshake import Report, Reporter
from ossmount.daemon.order import Order
from ossmount.exit_codes import ExitCode


def main() -> int:
    reporter = Reporter(int(sys.argv[3]))
    kept = order = None
    try:
        # Loaded here: importing takes a moment, and a failure to import must reach the user too. Without the garbage
        # collector, which would look through all modules again and again (a tenth of the time) and has nothing to find.
        gc.disable()
        from ossmount.daemon.kept import Kept
        from ossmount.daemon.run import run_mount

        order = Order.from_json(sys.stdin.buffer.read().decode())
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.chdir("/")
        gc.enable()
        keeper = int(sys.argv[4])
        kept = Kept(keeper) if keeper >= 0 else None
        run_mount(order, os.environ, lambda: reporter.report(Report(ExitCode.OK)), kept)
    except BaseException as failure:
        from ossmount.daemon.failures import command_error

        error = command_error(failure)
        if not reporter.is_awaited or order is None or order.log:  # else it is said on this very stderr by who waits
            print(f"ossmount: {error.message}", file=sys.stderr)
        reporter.report(Report(error.code, error.message))
        if kept is not None:
            kept.refuse(error.message)
        return error.code
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
