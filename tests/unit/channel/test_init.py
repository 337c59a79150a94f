"""The negotiation of INIT, with what kernels from 5.4 to 6.18 send.

The 6.18 INIT was recorded; the others are what those kernels' process_init sends by their source (fs/fuse/inode.c).
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio

from ossmount.channel.kernel_channel import init, protocol
from ossmount.channel.kernel_channel.init import Agreement, negotiate, parse_offer
from ossmount.channel.kernel_channel.protocol import Init, Opcode
from ossmount.config import ChannelConfig
from ossmount.errors import InvalidArgument, Unsupported
from tests.unit.channel.fake_kernel import ALL_FLAGS, FakeKernel, connected, init_in
from tests.unit.channel.memory_filesystem import MemoryFilesystem

CONFIG = ChannelConfig(Path("/mnt"), "test")

# release, minor, flags as sent (flags2 above bit 32)
KERNELS = [
    ("5.4.0-190-generic", 31, 0x03FFFFFB),
    ("5.10.0-30-amd64", 32, 0x0FFFFFFB),
    ("5.15.0-100-generic", 34, 0x1FFFFFFB & ~(1 << 26)),
    ("6.1.0-18-amd64", 37, 0x73FFFFFB | 1 << 35),
    ("6.6.30", 39, 0x73FFFFFB | 0b11000 << 32 | 1 << 35),
    ("6.8.0-51-generic", 39, 0x73FFFFFB | 0b11000 << 32 | 1 << 36),
    ("6.12.9", 41, 0x73FFFFFB | 0x1F8 << 32),
    ("6.18.44-fc", 45, 0x73FFFFFB | 0x7F8 << 32),
]


def agree(release: str = "6.18.1", minor: int = 45, flags: int = ALL_FLAGS, config: ChannelConfig = CONFIG) -> Agreement:
    return negotiate(parse_offer(init_in(minor, flags), release), config)


@pytest.mark.parametrize(("release", "minor", "flags"), KERNELS)
def test_every_kernel_gets_no_more_than_it_offers(release: str, minor: int, flags: int) -> None:
    agreed = agree(release, minor, flags)
    assert agreed.minor == minor
    assert agreed.flags & ~flags == 0
    assert Init.DO_READDIRPLUS in agreed.flags and Init.ASYNC_READ in agreed.flags
    assert agreed.max_pages == init.MAX_PAGES
    assert agreed.skip_open
    assert agreed.skip_opendir == agreed.cache_listings == (not release.startswith("6.12"))
    answer = protocol.INIT_OUT.unpack(init.pack_init_out(agreed))
    assert answer[:2] == (7, minor)
    assert answer[3] | answer[10] << 32 == agreed.flags
    assert answer[4:7] == (128, 96, init.MAX_WRITE)


@pytest.mark.parametrize("release", ["6.9.0", "6.10.14-amd64", "6.11-rc1", "6.12.63+deb13-cloud"])
def test_kernels_whose_listings_do_not_expire_keep_none(release: str) -> None:
    agreed = agree(release)
    assert not agreed.cache_listings and not agreed.skip_opendir and agreed.skip_open
    assert "6.9" in agreed.why_listings


@pytest.mark.parametrize("release", ["6.8.12", "6.13.0", "6.18.44", "5.9.1", "16.9.1", "odd"])
def test_other_kernels_keep_listings(release: str) -> None:
    assert agree(release).cache_listings


def test_the_flags_of_new_kernels_need_their_extension() -> None:
    without = init_in(45, ALL_FLAGS & ~Init.INIT_EXT)
    assert parse_offer(without, "6.18").flags >> 32 == 0
    assert parse_offer(init_in(45, ALL_FLAGS), "6.18").flags >> 32


def test_who_needs_open() -> None:
    assert agree().skip_open
    assert agree(config=ChannelConfig(Path("/mnt"), "test", open="skip")).why_open == "open=skip was asked for"
    for option, config in (
        ("open=ask", ChannelConfig(Path("/mnt"), "test", open="ask")),
        ("direct_io", ChannelConfig(Path("/mnt"), "test", direct_io=True)),
        ("close_to_open", ChannelConfig(Path("/mnt"), "test", close_to_open=True)),
    ):
        agreed = agree(config=config)
        assert not agreed.skip_open and not agreed.skip_opendir
        assert option in agreed.why_open
    assert Init.DIRECT_IO_ALLOW_MMAP in agree(config=ChannelConfig(Path("/mnt"), "test", direct_io=True)).flags
    assert not agree(flags=ALL_FLAGS & ~Init.NO_OPEN_SUPPORT).skip_open


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"open": "skip", "direct_io": True}, "direct_io"),
        ({"open": "skip", "close_to_open": True}, "close_to_open"),
        ({"open": "never"}, "open=never"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        init.check_open_policy(ChannelConfig(Path("/mnt"), "test", **options))  # type: ignore[arg-type]


def test_readahead_and_background_are_bounded() -> None:
    offer = parse_offer(init_in(max_readahead=1 << 30), "6.18")
    assert negotiate(offer, CONFIG).max_readahead == init.MAX_READAHEAD
    assert negotiate(offer, ChannelConfig(Path("/mnt"), "test", max_background=1 << 20)).max_background == 0xFFFF


@pytest.mark.parametrize(("major", "minor"), [(7, 30), (7, 6), (6, 45)])
def test_old_kernels_are_told_of_the_other_channel(major: int, minor: int) -> None:
    with pytest.raises(Unsupported, match="pyfuse3"):
        negotiate(parse_offer(init_in(minor, major=major), "4.19"), CONFIG)


def test_a_cut_init_is_refused() -> None:
    with pytest.raises(Unsupported, match="15 bytes"):
        parse_offer(bytes(15), "6.18")


def test_a_newer_major_version_is_asked_to_come_down() -> None:
    async def main() -> None:
        async with connected(MemoryFilesystem({}), initialize=False) as (channel, kernel):
            answer = await kernel.ask(Opcode.INIT, init_in(major=8))
            assert protocol.INIT_OUT.unpack(answer.body)[:2] == (7, protocol.KERNEL_MINOR_VERSION)
            assert (await kernel.ask(Opcode.GETATTR, bytes(16))).error == -errno.EIO  # not yet
            await kernel.post(Opcode.FORGET, bytes(8))
            assert (await kernel.ask(Opcode.INIT, init_in())).error == 0
            assert (await kernel.ask(Opcode.GETATTR, bytes(16))).error == 0
            assert channel.facts()["protocol"] == "7.45"

    trio.run(main)


def test_an_old_kernel_is_answered_before_serve_fails() -> None:
    async def main() -> None:
        async with connected(MemoryFilesystem({}), initialize=False) as (_, kernel):
            await old(kernel)

    async def old(kernel: FakeKernel) -> None:
        assert (await kernel.ask(Opcode.INIT, init_in(20))).error == -errno.EPROTO
        await trio.sleep_forever()  # cancelled by the failure

    with pytest.raises(Exception) as caught:
        trio.run(main)
    assert "7.20" in str(flatten(caught.value))


def flatten(failure: BaseException) -> list[BaseException]:
    """The failures inside groups."""
    inner = getattr(failure, "exceptions", None)
    return [failure] if inner is None else [leaf for each in inner for leaf in flatten(each)]
