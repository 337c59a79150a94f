import os
from pathlib import Path

import pytest

from ossmount.daemon.order import Order
from ossmount.options import declarations as options
from ossmount.options.settings import Given, Settings
from ossmount.options.source import Source


def test_an_order_survives_the_way_to_another_process() -> None:
    settings = Settings({"umask": Given("077", "-o umask"), "allow_other": Given("true", "--allow-other")})
    mountpoint = os.fsdecode(b"/mnt/a b\xff")
    order = Order(Source("bucket", b"a/\xff/"), mountpoint, settings, Path("/state"), "/log")
    again = Order.from_json(order.to_json())
    assert (again.source, again.mountpoint, again.state, again.log) == (order.source, mountpoint, Path("/state"), "/log")
    assert again.settings.shown() == settings.shown()
    assert again.settings.origin(options.UMASK) == "-o umask"


def test_paths_mean_the_folder_in_which_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon runs in another one, and a later daemon in no particular one."""
    monkeypatch.chdir(tmp_path)
    written = {"credentials": "keys.json", "cache_dir": "one:/two", "metadata_snapshot": "names"}
    order = Order(Source("b", b""), "/mnt", Settings({name: Given(text, "") for name, text in written.items()}), Path("/s"))
    text = order.to_json()
    monkeypatch.chdir("/")
    settings = Order.from_json(text).settings
    assert settings[options.CREDENTIALS] == tmp_path / "keys.json"
    assert settings[options.CACHE_DIR] == (tmp_path / "one", Path("/two"))
    assert settings[options.METADATA_SNAPSHOT] == tmp_path / "names"


def test_a_place_in_oss_stays_one(tmp_path: Path) -> None:
    settings = Settings({"metadata_snapshot": Given("oss://bucket/key", "")})
    again = Order.from_json(Order(Source("b", b""), "/mnt", settings, tmp_path).to_json())
    assert again.settings[options.METADATA_SNAPSHOT] == settings[options.METADATA_SNAPSHOT] != tmp_path
