"""`ossmount mount`: starts the daemon of a mount and returns once it answers."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ossmount.control.state import make_private, state_directory
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options.declarations import CONFIG, FUSE_FD, GROUPS, OPTIONS, USER
from ossmount.options.declared.option import Option
from ossmount.options.gathering import gather, misspelled, without_effect
from ossmount.options.settings import Given, Settings, UsageError
from ossmount.options.source import Source, parse_source

if TYPE_CHECKING:
    from ossmount.daemon.order import Order

DESCRIPTION = """Mounts a bucket, or the folder PREFIX of it, read-only. Returns once the mount answers;
its daemon goes on in the background until "ossmount umount".

Credentials are taken from what the options under "Credentials" name, else from the first of:
OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET in the environment, the OIDC token of a pod,
/mnt/.alibabacloud/credentials, the profiles of aliyun and ossutil, the RAM role of the ECS instance."""

EPILOG = """Every option can also be given as -o name=value, with underscores for hyphens, and in
the environment as OSSMOUNT_NAME, and in the file of --config. CONFIGURATION.md describes all
of them; "ossmount config show" tells what a mount would get and where from.

Examples:
  ossmount mount oss://my-bucket /mnt/data --endpoint oss-cn-hangzhou.aliyuncs.com
  ossmount mount oss://my-bucket/train /mnt/train --region cn-hangzhou -o allow_other,attr_timeout=1h
  ossmount mount oss://my-bucket/train /mnt/train --region cn-hangzhou --profile training
  ossmount mount --config imagenet
  ossmount mount oss://public-bucket /mnt/data --region cn-beijing --anonymous --foreground"""


_FUSE_DEVICE = os.makedev(10, 229)  # Documentation/admin-guide/devices.txt of the kernel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="oss://BUCKET[/PREFIX]", nargs="?", help="what to mount; --config may say it instead")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="an empty folder; --config may say it instead")
    parser.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground and log to stderr")
    parser.add_argument("--stderr", action="store_true", help="log to stderr, also when the daemon runs in the background")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options of a mount, as flags and behind -o."""
    parser.add_argument(
        "-o", dest="mount_options", metavar="NAME[=VALUE],...", action="append", default=[], help="options in mount(8)'s form"
    )
    for group in GROUPS:
        section = parser.add_argument_group(group)
        for option in OPTIONS:
            if option.group == group:
                add_option(section, option)


def add_option(section: argparse._ActionsContainer, option: Option[Any]) -> None:
    default = "" if option.is_switch else f" (default: {option.default_text or 'none'})"
    text = f"{option.help}{default}".replace("%", "%%")
    destination = f"option_{option.name}"
    if option.is_switch:
        section.add_argument(option.flag, dest=destination, action="store_const", const="true", help=text)
    else:
        section.add_argument(option.flag, dest=destination, metavar=option.unit.metavar, help=text)


def given_options(arguments: argparse.Namespace) -> dict[str, str]:
    """What was written for each option that was given as a flag."""
    flags = {option.name: getattr(arguments, f"option_{option.name}") for option in OPTIONS}
    return {name: text for name, text in flags.items() if text is not None}


def run(arguments: argparse.Namespace) -> int:
    try:
        for warning in (*misspelled(os.environ), *without_effect(arguments.mount_options)):
            print(f"ossmount: {warning}", file=sys.stderr)
        given = gather(given_options(arguments), arguments.mount_options, os.environ)
        settings = Settings(given)
        written, mountpoint = what_and_where(arguments.source, arguments.mountpoint, given)
        source = parse_source(written)
    except UsageError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None

    _check_descriptor(settings)
    order, environ = _order(source, mountpoint, settings), dict(os.environ)
    if settings[USER]:
        order, environ = _for_user(order)
    if not arguments.foreground:
        return _background(order, environ, to_stderr=arguments.stderr)
    from ossmount.daemon.choice import why_no_keeper

    return (_foreground if why_no_keeper(settings) else _foreground_with_keeper)(order, environ)


def what_and_where(source: str | None, mountpoint: str | None, given: Mapping[str, Given]) -> tuple[str, str]:
    """Source and mountpoint: from the command line, else from the configuration file. Raises UsageError."""
    if source is not None and mountpoint is None and "://" not in source:
        source, mountpoint = None, source
    if source is not None and mountpoint is not None:
        return source, mountpoint
    config = given.get(CONFIG.name)
    if config is None:
        lacking = "MOUNTPOINT" if mountpoint is None and source is not None else "oss://BUCKET[/PREFIX] and MOUNTPOINT"
        raise UsageError(f"{lacking} must be given, or --config FILE that says them")
    from ossmount.options.files import read_config

    file = read_config(config)
    source, mountpoint = source or file.source, mountpoint or file.mountpoint
    if not source or not mountpoint:
        key = "mountpoint" if source else "source"
        raise UsageError(f"{file.path} says no {key}: write {key} = ... there, or give it on the command line")
    return source, mountpoint


def _order(source: Source, mountpoint: str, settings: Settings) -> Order:
    from ossmount.channel.mounting import resolve
    from ossmount.daemon.order import Order

    state = state_directory(os.environ, os.geteuid())
    make_private(state)
    return Order(source, resolve(mountpoint), settings, state)


def _for_user(order: Order) -> tuple[Order, dict[str, str]]:
    """Prepares the machine for a mount whose processes belong to another user: the order for them, and their environment."""
    from ossmount.channel.mounting import MountError
    from ossmount.daemon.failures import command_error
    from ossmount.daemon.serving_user import find_user, prepared

    try:
        user = find_user(order.settings)
        assert user is not None
        return prepared(order, user), user.environment(os.environ)
    except (UsageError, MountError) as error:
        raise command_error(error) from None


def _check_descriptor(settings: Settings) -> None:
    fuse_fd = settings[FUSE_FD]
    if fuse_fd is not None:
        try:
            found = os.fstat(fuse_fd)
        except OSError:
            message = f"{settings.origin(FUSE_FD)}: descriptor {fuse_fd} is not open; it must be inherited"
            raise CommandError(ExitCode.USAGE, message) from None
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != _FUSE_DEVICE:
            message = f"{settings.origin(FUSE_FD)}: descriptor {fuse_fd} is not one of /dev/fuse"
            raise CommandError(ExitCode.USAGE, message)


def _foreground(order: Order, environ: dict[str, str]) -> int:
    from ossmount.daemon.failures import command_error
    from ossmount.daemon.run import run_mount

    def ready() -> None:
        print(f"{order.source} is mounted at {order.mountpoint}; Ctrl-C unmounts it", file=sys.stderr, flush=True)

    try:
        run_mount(order, environ, ready)
    except BaseException as failure:
        raise command_error(failure) from None
    return ExitCode.OK


def _foreground_with_keeper(order: Order, environ: dict[str, str]) -> int:
    """This process becomes the keeper: what a supervisor watches is the process that does not die."""
    from ossmount.daemon.background import environment
    from ossmount.daemon.keeping import become_keeper

    become_keeper(order, environment(environ))
    raise AssertionError("execve() has returned")


def _background(order: Order, environ: dict[str, str], *, to_stderr: bool) -> int:
    from ossmount.daemon.background import start_daemon

    start_daemon(order, environ, to_stderr=to_stderr)
    return ExitCode.OK
