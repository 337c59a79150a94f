"""`ossmount restart`: another daemon for a mount, with its code and its options, while its readers read on."""

from __future__ import annotations

import argparse
import os
import sys

from ossmount.channel.mounting import resolve
from ossmount.cli.mount import add_options, given_options
from ossmount.control.client import ControlError, ask
from ossmount.control.registry import Registry
from ossmount.control.state import state_directory
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options.gathering import gather, without_effect
from ossmount.options.settings import UsageError

DESCRIPTION = """Replaces the daemon of a mount by a new one, which runs the ossmount that is installed now, with
the options that are given here instead of those of the mount. Its readers wait for a moment and
read on: open files, mappings and working directories stay as they are.

The new daemon prepares itself first, and asks OSS whether its keys are right. When it cannot be
used, the old one goes on."""

EPILOG = """Options that are not given stay as they are, and the environment counts only for access keys.
Some cannot change while mounted, which is then said.

Examples:
  ossmount restart /mnt/data
  ossmount restart /mnt/data --memory-limit 4G --log-level debug"""

_LIMIT = 120.0  # seconds; longer than the keeper waits for a daemon


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", help="the mount whose daemon is replaced")
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    registry = Registry(state_directory(os.environ, os.geteuid()))
    record = registry.find(resolve(arguments.mountpoint))
    if record is None or not record.alive():
        raise CommandError(ExitCode.NOT_MOUNTED, f"{arguments.mountpoint}: no mount of yours; `ossmount status` lists them")
    if not record.kept():
        message = f"{arguments.mountpoint}: it has no keeper, so nothing can take it over; unmount and mount again"
        raise CommandError(ExitCode.USAGE, message)

    from ossmount.daemon.background import environment
    from ossmount.daemon.keeping import daemon_words
    from ossmount.daemon.order import Order
    from ossmount.daemon.restart import changed, handed_on

    try:
        for warning in without_effect(arguments.mount_options):
            print(f"ossmount: {warning}", file=sys.stderr)
        given = gather(given_options(arguments), arguments.mount_options, {})
        before = Order.from_json(ask(record.keeper_socket, "order", timeout=_LIMIT)["order"])
        order = changed(before, given, os.environ)
        mine = handed_on(environment(os.environ), os.environ)
        request = {"argv": daemon_words(order), "order": order.to_json(), "environment": mine}
        ask(record.keeper_socket, "restart", timeout=_LIMIT, **request)
    except UsageError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    except ControlError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"{arguments.mountpoint} was not restarted: {error}") from None
    return ExitCode.OK
