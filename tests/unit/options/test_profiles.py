from __future__ import annotations

import pytest

from ossmount.options import declarations as options
from ossmount.options.gathering import gather
from ossmount.options.profiles import PROFILES
from ossmount.options.settings import Settings, UsageError


def test_every_profile_that_can_be_chosen_is_there() -> None:
    assert tuple(PROFILES) == options.PROFILE.unit.choices


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_profile_sets(name: str) -> None:
    settings = Settings(gather({"profile": name}, [], {}))
    for key, text in PROFILES[name].values.items():
        option = options.BY_NAME[key]
        assert settings[option] == option.unit.parse(text) != option.default
        assert settings.origin(option) == f"profile {name}"


def test_a_profile_gives_way() -> None:
    settings = Settings(gather({"profile": "inference"}, ["attr_timeout=1", "direct_io"], {}))
    assert settings[options.ATTR_TIMEOUT] == 1.0
    assert settings[options.PASSTHROUGH] is False  # which direct_io contradicts
    assert Settings(gather({"profile": "shared"}, ["open=skip"], {}))[options.CLOSE_TO_OPEN] is False
    assert Settings(gather({"profile": "shared"}, ["open=ask"], {}))[options.CLOSE_TO_OPEN] is True


def test_a_wrong_value_beside_a_profile_is_told_once() -> None:
    with pytest.raises(UsageError, match=r"^-o open: 'slip' is not right: expected one of auto, skip, ask$"):
        Settings(gather({"profile": "shared"}, ["open=slip"], {}))


def test_a_profile_that_is_none() -> None:
    with pytest.raises(UsageError, match="one of training, shared, fresh, inference"):
        Settings(gather({"profile": "fast"}, [], {}))
