"""Makes the channel that the user or the machine wants."""

from __future__ import annotations

import importlib.util
import platform

from ossmount.channel.interface import Channel, LocalCopies, Succession
from ossmount.config import ChannelConfig
from ossmount.daemon.choice import choose_channel
from ossmount.errors import Unsupported
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.filesystem.interface import Operations
from ossmount.options import declarations as options
from ossmount.options.settings import Settings, UsageError


def make_channel(
    settings: Settings,
    operations: Operations,
    config: ChannelConfig,
    succession: Succession | None = None,
    copies: LocalCopies | None = None,
) -> tuple[Channel, str]:
    """The channel that the user or the machine wants. Only the one that is used is imported."""
    name, reason = choose_channel(settings[options.CHANNEL], platform.release())
    try:
        if name == "kernel":
            from ossmount.channel.kernel_channel.channel import KernelChannel

            return KernelChannel(operations, config, succession, copies), reason
        if importlib.util.find_spec("pyfuse3") is None:
            raise CommandError(
                ExitCode.NO_FUSE,
                f"the pyfuse3 channel ({reason}) needs the package pyfuse3: pip install pyfuse3, or give --channel kernel",
            )
        from ossmount.channel.pyfuse3_channel import Pyfuse3Channel

        return Pyfuse3Channel(operations, config), reason
    except Unsupported as failure:
        raise UsageError(str(failure)) from None
