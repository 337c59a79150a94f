"""INIT: what the kernel offers and what is agreed, as pure functions.

Nothing is assumed: a feature is agreed only when the kernel offered its flag. Kernels from 5.4 (7.31) on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ossmount.channel.kernel_channel import protocol
from ossmount.channel.kernel_channel.protocol import Init
from ossmount.config import ChannelConfig
from ossmount.errors import InvalidArgument, Unsupported

MAX_READAHEAD = 16 << 20  # bytes; the kernel takes the lower of this and the bdi's read_ahead_kb: asks for no limit of ours
MAX_PAGES = (
    256  # pages of one READ: 1 MiB, the kernel's own ceiling (newer ones raise it by the sysctl fs.fuse.max_pages_limit)
)
MAX_WRITE = 4096  # bytes; the least there is: nothing is written, and the request buffer can stay small
TIME_GRANULARITY = 1  # nanoseconds
# Kernels whose cached listings are reported not to expire (gcsfuse reports the same range); not run by us.
BROKEN_LISTING_CACHE = ((6, 9), (6, 12))


class Offer(NamedTuple):
    """What the kernel says in fuse_init_in, and its release as uname(2) gives it."""

    major: int
    minor: int
    max_readahead: int  # bytes
    flags: Init
    release: str


class Agreement(NamedTuple):
    """What holds for the connection from INIT on."""

    minor: int
    flags: Init
    max_readahead: int  # bytes
    max_background: int
    max_pages: int
    skip_open: bool  # OPEN, RELEASE and FLUSH are answered ENOSYS
    skip_opendir: bool  # OPENDIR and RELEASEDIR are answered ENOSYS
    cache_listings: bool  # the kernel may keep directory listings
    why_open: str  # why OPEN is skipped or asked, for `ossmount status`
    why_listings: str  # why listings are cached by the kernel or not


def agreement_facts(agreement: Agreement) -> dict[str, object]:
    """What `ossmount status` shows of it."""
    return {
        "protocol": f"{protocol.KERNEL_VERSION}.{agreement.minor}",
        "flags": [flag.name for flag in Init if flag in agreement.flags],
        "open": "skip" if agreement.skip_open else "ask",
        "open_why": agreement.why_open,
        "kernel_listings": agreement.cache_listings,
        "kernel_listings_why": agreement.why_listings,
        "max_background": agreement.max_background,
        "max_pages": agreement.max_pages,
    }


def agreement_as_json(agreement: Agreement) -> dict[str, Any]:
    """The agreement as plain values, for the daemon that goes on with the connection."""
    return {**agreement._asdict(), "flags": int(agreement.flags)}


def agreement_from(values: Mapping[str, Any]) -> Agreement:
    """The same again; raises Unsupported for one that lacks what this version wants to know."""
    missing = [name for name in Agreement._fields if name not in values]
    if missing:
        raise Unsupported(f"the agreement with the kernel says nothing of {', '.join(missing)}: unmount, and mount again")
    known = {name: values[name] for name in Agreement._fields}
    return Agreement(**{**known, "flags": Init(known["flags"])})


def parse_offer(body: bytes | bytearray | memoryview, release: str) -> Offer:
    """fuse_init_in, short as older kernels send it or long. Raises Unsupported when it is shorter than ever was."""
    if len(body) < protocol.INIT_IN.size:
        raise Unsupported(f"INIT of {len(body)} bytes: not the FUSE protocol 7.6 or newer")
    major, minor, max_readahead, flags = protocol.INIT_IN.unpack_from(body)
    if flags & Init.INIT_EXT and len(body) >= protocol.INIT_IN.size + protocol.INIT_IN_FLAGS2.size:
        flags |= protocol.INIT_IN_FLAGS2.unpack_from(body, protocol.INIT_IN.size)[0] << 32
    return Offer(major, minor, max_readahead, Init(flags), release)


def check_open_policy(config: ChannelConfig) -> None:
    """Raises InvalidArgument for options that contradict each other."""
    if config.open not in ("auto", "skip", "ask"):
        raise InvalidArgument(f"open={config.open}: one of auto, skip, ask")
    wants_open = (
        ("direct_io", config.direct_io),
        ("close_to_open", config.close_to_open),
        ("passthrough", config.passthrough > 0),
    )
    for name, wanted in wants_open:
        if wanted and config.open == "skip":
            raise InvalidArgument(
                f"open=skip cannot be combined with {name}, which needs the OPEN request: use open=auto or ask"
            )


def negotiate(offer: Offer, config: ChannelConfig) -> Agreement:
    """The agreement with a kernel. Raises Unsupported for one that is older than 5.4."""
    if offer.major != protocol.KERNEL_VERSION or offer.minor < protocol.OLDEST_MINOR_VERSION:
        raise Unsupported(
            f"the kernel {offer.release} speaks FUSE {offer.major}.{offer.minor}; "
            f"7.{protocol.OLDEST_MINOR_VERSION} (Linux 5.4) is the oldest that this channel speaks: use --channel pyfuse3"
        )
    wanted = (
        Init.ASYNC_READ
        # the kernel asks for the attributes of a directory, where they ran out, before it uses a listing that it keeps
        | Init.AUTO_INVAL_DATA
        | Init.DO_READDIRPLUS
        | Init.PARALLEL_DIROPS
        | Init.ABORT_ERROR
        | Init.MAX_PAGES
        | Init.CACHE_SYMLINKS  # a symlink's inode is one version of it
        | Init.NO_OPEN_SUPPORT
        | Init.NO_OPENDIR_SUPPORT
        | Init.INIT_EXT
        | Init.HAS_EXPIRE_ONLY
        | Init.HAS_RESEND
    )
    if config.direct_io:
        wanted |= Init.ASYNC_DIO | Init.DIRECT_IO_ALLOW_MMAP
    if config.passthrough:
        wanted |= Init.PASSTHROUGH
    flags = wanted & offer.flags
    cache_listings, why_listings = _listings(offer.release)
    skip_open, why_open = _skip_open(flags, config)
    return Agreement(
        minor=min(offer.minor, protocol.KERNEL_MINOR_VERSION),
        flags=flags,
        max_readahead=min(offer.max_readahead, MAX_READAHEAD),
        max_background=min(config.max_background, 0xFFFF),
        max_pages=MAX_PAGES if Init.MAX_PAGES in flags else 32,
        skip_open=skip_open,
        skip_opendir=skip_open and cache_listings and Init.NO_OPENDIR_SUPPORT in flags,
        cache_listings=cache_listings,
        why_open=why_open,
        why_listings=why_listings,
    )


def _skip_open(flags: Init, config: ChannelConfig) -> tuple[bool, str]:
    if config.open == "ask":
        return False, "open=ask was asked for"
    needs = (
        ("direct_io", config.direct_io),
        ("close_to_open", config.close_to_open),
        ("passthrough", Init.PASSTHROUGH in flags),
    )
    for name, wanted in needs:
        if wanted:
            return False, f"{name} needs OPEN"
    if Init.NO_OPEN_SUPPORT not in flags:
        return False, "the kernel does not offer to skip OPEN"
    return True, "open=skip was asked for" if config.open == "skip" else "nothing that was asked for needs OPEN"


def _listings(release: str) -> tuple[bool, str]:
    match = re.match(r"(\d+)\.(\d+)", release)
    oldest, newest = BROKEN_LISTING_CACHE
    if match and oldest <= (int(match[1]), int(match[2])) <= newest:
        return False, f"kernels {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]} do not let cached listings expire"
    return True, "the kernel keeps them until the directory changes"


def pack_init_out(agreement: Agreement, stack_depth: int = 0) -> bytes:
    """fuse_init_out, in the length of 7.23 and newer. stack_depth: see ChannelConfig.passthrough."""
    return protocol.INIT_OUT.pack(
        protocol.KERNEL_VERSION,
        agreement.minor,
        agreement.max_readahead,
        agreement.flags & 0xFFFFFFFF,
        agreement.max_background,
        max(1, agreement.max_background * 3 // 4),  # congestion_threshold, in the kernel's own proportion
        MAX_WRITE,
        TIME_GRANULARITY,
        agreement.max_pages,
        0,  # map_alignment: for DAX only
        agreement.flags >> 32,
        stack_depth if Init.PASSTHROUGH in agreement.flags else 0,  # max_stack_depth
        0,  # request_timeout: deadlines are ours
    )


def pack_version_out() -> bytes:
    """The answer to a newer major version: the kernel then sends INIT again in ours."""
    return protocol.INIT_OUT.pack(protocol.KERNEL_VERSION, protocol.KERNEL_MINOR_VERSION, *(0,) * 11)


def answer_offer(body: bytes | bytearray, release: str, config: ChannelConfig) -> tuple[bytes, Agreement | None]:
    """The answer to INIT, and what was agreed; None when the kernel is to ask again in our major version."""
    offer = parse_offer(body, release)
    if offer.major > protocol.KERNEL_VERSION:
        return pack_version_out(), None
    agreement = negotiate(offer, config)
    return pack_init_out(agreement, config.passthrough), agreement
