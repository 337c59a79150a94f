from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ossmount.channel.mounting import MountError
from ossmount.config import SourceConfig
from ossmount.daemon import build as building
from ossmount.daemon.choice import choose_channel
from ossmount.daemon.configs import data_config, fetch_config
from ossmount.daemon.credentials import credentials_of
from ossmount.daemon.failures import command_error
from ossmount.daemon.order import Order
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options import declarations as options
from ossmount.options.gathering import gather
from ossmount.options.settings import Settings, UsageError
from ossmount.options.source import Source

KEYS = {"OSS_ACCESS_KEY_ID": "id", "OSS_ACCESS_KEY_SECRET": "hunter2"}


def order(tmp_path: Path, *mount_options: str) -> Order:
    mountpoint = tmp_path / "mount"
    mountpoint.mkdir(exist_ok=True)
    settings = Settings(gather({}, mount_options, {}))
    return Order(Source("bucket", b"a/"), str(mountpoint), settings, tmp_path)


def config(tmp_path: Path, *mount_options: str, environ: dict[str, str] = KEYS) -> SourceConfig:
    wanted = order(tmp_path, *mount_options)
    settings = building.fill_defaults(wanted.settings, environ)
    return building.source_config(wanted.source, settings, credentials_of(settings, environ))


def test_the_endpoint_is_https_unless_it_is_written_otherwise(tmp_path: Path) -> None:
    assert config(tmp_path, "endpoint=oss.example.com").endpoint == "https://oss.example.com"
    assert config(tmp_path, "endpoint=http://localhost:1").endpoint == "http://localhost:1"


@pytest.mark.parametrize("region", ["cn-beijing", "oss-cn-beijing"])
def test_a_region_has_an_endpoint(tmp_path: Path, region: str) -> None:
    found = config(tmp_path, f"region={region}")
    assert (found.endpoint, found.region) == ("https://oss-cn-beijing.aliyuncs.com", "cn-beijing")


@pytest.mark.parametrize(("timeout", "slow_after"), [("60", 10.0), ("6", 2.0)])
def test_a_disk_is_given_up_while_a_reader_still_waits(tmp_path: Path, timeout: str, slow_after: float) -> None:
    wanted = order(tmp_path, f"cache_dir={tmp_path},timeout={timeout}").settings
    found = building.disk_cache_config(config(tmp_path, "region=r"), wanted)
    assert found is not None and (found.directories, found.slow_after) == ((tmp_path,), slow_after)


def test_credentials(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"AccessKeyId": "other", "AccessKeySecret": "x"}))
    assert config(tmp_path, "region=r").credentials().access_key_id == "id"
    assert config(tmp_path, f"region=r,credentials={path}").credentials().access_key_id == "other"
    assert config(tmp_path, "region=r,anonymous").credentials().anonymous


@pytest.mark.parametrize(
    ("mount_options", "environ", "code", "message"),
    [
        ("region=r", {}, ExitCode.REFUSED, "give --credentials FILE"),
        ("region=r", {"OSS_ACCESS_KEY_ID": "id"}, ExitCode.REFUSED, "OSS_ACCESS_KEY_SECRET is not"),
        ("region=r,credentials=/nowhere", {}, ExitCode.REFUSED, "/nowhere"),
        ("endpoint=ftp://x", KEYS, ExitCode.UNREACHABLE, "--endpoint"),
        ("umask=022", KEYS, ExitCode.USAGE, "no endpoint: give --endpoint"),
        ("region=r,memory_limit=1M", KEYS, ExitCode.USAGE, "-o memory_limit: at least 16M"),
    ],
)
def test_what_is_wrong_before_anything_is_asked(
    tmp_path: Path, mount_options: str, environ: dict[str, str], code: ExitCode, message: str
) -> None:
    with pytest.raises((CommandError, UsageError)) as failure:
        building.build(order(tmp_path, mount_options), environ)
    error = command_error(failure.value)
    assert error.code == code
    assert message in error.message and "hunter2" not in error.message


def test_a_mountpoint_is_looked_at_first(tmp_path: Path) -> None:
    wanted = order(tmp_path, "region=r")
    (tmp_path / "mount" / "file").touch()
    with pytest.raises(MountError) as failure:
        building.build(wanted, {})
    assert command_error(failure.value).code == ExitCode.MOUNTPOINT


def test_defaults_that_depend_on_the_machine(tmp_path: Path) -> None:
    settings = building.fill_defaults(order(tmp_path, "region=r").settings, {})
    assert (settings[options.UID], settings[options.GID]) == (os.getuid(), os.getgid())
    assert settings[options.MEMORY_LIMIT] is not None
    assert building.default_metadata_directory({}, 0) == Path("/var/cache/ossmount")
    assert building.default_metadata_directory({"XDG_CACHE_HOME": "/x"}, 1) == Path("/x/ossmount")
    assert building.default_metadata_directory({"XDG_CACHE_HOME": "relative"}, 1) == Path.home() / ".cache/ossmount"


@pytest.mark.parametrize(
    ("wanted", "release", "name", "reason"),
    [
        ("auto", "6.18.44-x", "kernel", "has what it needs"),
        ("auto", "5.4.0", "kernel", "has what it needs"),
        ("auto", "4.19.0-26-amd64", "pyfuse3", "older than 5.4"),
        ("pyfuse3", "6.18.44", "pyfuse3", "asked for"),
        ("kernel", "4.19.0", "kernel", "asked for"),
    ],
)
def test_which_channel_and_why(wanted: str, release: str, name: str, reason: str) -> None:
    found, why = choose_channel(wanted, release)
    assert found == name and reason in why


def test_sources_that_list_differently_do_not_share_metadata(tmp_path: Path) -> None:
    def identity(*mount_options: str) -> str:
        settings = order(tmp_path, *mount_options).settings
        return building.source_identity(config(tmp_path, *mount_options), settings)

    plain = identity("endpoint=http://localhost:1")
    assert plain == identity("endpoint=http://LOCALHOST:1/,umask=077")
    assert plain != identity("endpoint=http://localhost:2")
    assert plain != identity("endpoint=http://localhost:1,no_symlink")


def test_what_bounds_a_read_reaches_the_components() -> None:
    settings = Settings(gather({}, ["hedge_above=200ms", "timeout=7"], {}))
    assert fetch_config(settings).hedge_above == 0.2
    assert data_config(settings, 1 << 20).timeout == 7.0
