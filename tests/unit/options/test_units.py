import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossmount.options import units


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1K", 1024),
        ("1k", 1024),
        ("8M", 8 << 20),
        ("8MiB", 8 << 20),
        ("8 MB", 8 << 20),
        ("1.5G", 3 << 29),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert units.SIZE.parse(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1X", "G", "1 2", "0x10", "1e3", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="a size is"):
        units.SIZE.parse(text)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 1 << 50))
def test_a_size_that_is_shown_is_read_as_itself(size: int) -> None:
    assert units.SIZE.parse(units.show_size(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("250ms", 0.25),
        ("10s", 10.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert units.SECONDS.parse(text) == seconds


def test_a_time_may_be_infinite_where_waiting_is_not_meant() -> None:
    assert units.SECONDS.parse("inf") == math.inf
    for text in ("inf", "0"):
        with pytest.raises(ValueError, match="more than 0"):
            units.POSITIVE_SECONDS.parse(text)


@pytest.mark.parametrize("text", ["", "-1", "1y", "nan", "1e3", "ten"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="a time is"):
        units.SECONDS.parse(text)


def test_switches() -> None:
    assert [units.BOOLEAN.parse(text) for text in ("true", "1", "YES", "on", "")] == [True] * 5
    assert [units.BOOLEAN.parse(text) for text in ("false", "0", "no", "off")] == [False] * 4
    with pytest.raises(ValueError, match="true or false"):
        units.BOOLEAN.parse("maybe")


def test_umask_is_octal() -> None:
    assert units.UMASK.parse("022") == 0o022
    assert units.UMASK.show(0o27) == "027"
    for text in ("0o1777", "8", "1000", "-1", ""):
        with pytest.raises(ValueError, match="octal"):
            units.UMASK.parse(text)


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert units.PATH.parse("keys.json") == tmp_path / "keys.json"


def test_a_proxy_is_shown_without_its_password() -> None:
    assert units.PROXY.parse("proxy:3128") == "http://proxy:3128"
    assert units.PROXY.show("http://me:secret@proxy:3128") == "http://***@proxy:3128"
    assert units.PROXY.show("http://proxy:3128") == "http://proxy:3128"
    for text in ("socks5://proxy:1", "http://"):
        with pytest.raises(ValueError, match="a proxy is"):
            units.PROXY.parse(text)


def test_numbers_have_bounds() -> None:
    unit = units.count(1, 10)
    assert unit.parse("10") == 10
    for text in ("0", "11", "-1", "1.0", "x", "9" * 40):
        with pytest.raises(ValueError, match="from 1 to 10"):
            unit.parse(text)


def test_choices_are_named() -> None:
    with pytest.raises(ValueError, match="one of auto, kernel"):
        units.choice("auto", "kernel").parse("fast")
