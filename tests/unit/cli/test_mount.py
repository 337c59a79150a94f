from __future__ import annotations

from pathlib import Path

import pytest

from ossmount.cli.mount import what_and_where
from ossmount.options.settings import Given, UsageError


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Given]:
    path = tmp_path / "mount.toml"
    path.write_text('source = "oss://bucket/a"\nmountpoint = "/mnt/a"\n')
    path.chmod(0o644)
    return {"config": Given(str(path), "--config")}


@pytest.mark.parametrize(
    ("source", "mountpoint", "meant"),
    [
        (None, None, ("oss://bucket/a", "/mnt/a")),
        ("oss://other", None, ("oss://other", "/mnt/a")),
        ("/mnt/b", None, ("oss://bucket/a", "/mnt/b")),
        ("oss://other", "/mnt/b", ("oss://other", "/mnt/b")),
    ],
)
def test_the_command_line_goes_before_the_file(
    given: dict[str, Given], source: str | None, mountpoint: str | None, meant: tuple[str, str]
) -> None:
    assert what_and_where(source, mountpoint, given) == meant


def test_a_file_may_lack_one_of_the_two(given: dict[str, Given]) -> None:
    Path(given["config"].text).write_text('mountpoint = "/mnt/a"\n')
    with pytest.raises(UsageError, match=r"mount\.toml says no source: write source = \.\.\. there"):
        what_and_where(None, None, given)
    assert what_and_where("oss://bucket", None, given) == ("oss://bucket", "/mnt/a")
