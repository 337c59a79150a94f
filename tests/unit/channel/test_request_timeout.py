from __future__ import annotations

from pathlib import Path

import pytest

from ossmount.channel import request_timeout


def kernel(folder: Path, default: int, most: int) -> Path:
    (folder / "default_request_timeout").write_text(f"{default}\n")
    (folder / "max_request_timeout").write_text(f"{most}\n")
    return folder


@pytest.mark.parametrize(("default", "most", "limit"), [(0, 0, 0), (0, 300, 300), (60, 0, 60), (60, 300, 60), (600, 300, 300)])
def test_the_limit_is_the_lower_of_the_two_that_are_set(tmp_path: Path, default: int, most: int, limit: int) -> None:
    assert request_timeout.limit(kernel(tmp_path, default, most)) == limit


def test_kernels_without_a_limit(tmp_path: Path) -> None:
    assert request_timeout.limit(tmp_path) == 0
    assert request_timeout.warning(60, tmp_path) == ""


@pytest.mark.parametrize(("seconds", "warned"), [(0, False), (269, True), (270, False)])
def test_three_deadlines_and_a_restart_must_fit(tmp_path: Path, seconds: int, warned: bool) -> None:
    said = request_timeout.warning(60.0, kernel(tmp_path, 0, seconds))
    assert bool(said) == warned
    assert not warned or ("269 s" in said and "--timeout 60" in said and "270 s" in said and "max_request_timeout=0" in said)
