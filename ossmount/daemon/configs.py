"""What single parts of a mount are told, from the user's options."""

from __future__ import annotations

import math
from pathlib import Path

from ossmount.config import ChannelConfig, DataConfig, FetchConfig, FilesystemConfig
from ossmount.daemon.order import Order
from ossmount.daemon.slow_log import PART
from ossmount.options import declarations as options
from ossmount.options.settings import Settings


def fetch_config(settings: Settings) -> FetchConfig:
    return FetchConfig(
        workers=settings[options.FETCH_WORKERS],
        connections=settings[options.CONNECTIONS],
        hedge_above=settings[options.HEDGE_ABOVE],
        verify=settings[options.VERIFY] != "off",
        slow_after=math.inf if settings[options.SLOW_LOG] is None else PART * settings[options.SLOW_THRESHOLD],
    )


def data_config(settings: Settings, memory_limit: int) -> DataConfig:
    return DataConfig(
        memory_limit=memory_limit,
        readahead_size=settings[options.READAHEAD_SIZE],
        readahead_count=settings[options.READAHEAD_COUNT],
        timeout=settings[options.TIMEOUT],
        kernel_keeps=not settings[options.DIRECT_IO],
    )


def filesystem_config(settings: Settings) -> FilesystemConfig:
    uid, gid = settings[options.UID], settings[options.GID]
    assert uid is not None and gid is not None
    return FilesystemConfig(
        uid=uid,
        gid=gid,
        umask=settings[options.UMASK],
        attr_timeout=settings[options.ATTR_TIMEOUT],
        entry_timeout=settings[options.ENTRY_TIMEOUT],
        negative_timeout=settings[options.NEGATIVE_TIMEOUT],
        close_to_open=settings[options.CLOSE_TO_OPEN],
    )


def channel_config(order: Order) -> ChannelConfig:
    settings = order.settings
    return ChannelConfig(
        mountpoint=Path(order.mountpoint),
        source=str(order.source),
        allow_other=settings[options.ALLOW_OTHER],
        open=settings[options.OPEN],
        direct_io=settings[options.DIRECT_IO],
        close_to_open=settings[options.CLOSE_TO_OPEN],
        fuse_fd=settings[options.FUSE_FD],
        max_background=settings[options.MAX_BACKGROUND],
        read_ahead_kb=settings[options.READ_AHEAD_KB],
    )
