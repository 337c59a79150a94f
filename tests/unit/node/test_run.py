"""What the environment of a container asks for."""

from __future__ import annotations

import re

import pytest

from ossmount.node.run import Wanted, WrongEnvironment, wanted


def test_one_mount_and_several() -> None:
    one = {"OSSMOUNT_SOURCE": "oss://data/a=b", "OSSMOUNT_MOUNTPOINT": "/mnt/a"}
    assert wanted(one) == [Wanted("oss://data/a=b", "/mnt/a")]
    several = {"OSSMOUNT_MOUNTS": "oss://data/x=1=/mnt/x\n oss://other=/mnt/y "}
    assert wanted(several) == [Wanted("oss://data/x=1", "/mnt/x"), Wanted("oss://other", "/mnt/y")]
    assert wanted(one | several) == [*wanted(one), *wanted(several)]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "OSSMOUNT_SOURCE=oss://"),
        ({"OSSMOUNT_SOURCE": "oss://data"}, "OSSMOUNT_MOUNTPOINT is not"),
        ({"OSSMOUNT_MOUNTPOINT": "/mnt"}, "OSSMOUNT_SOURCE is not"),
        ({"OSSMOUNT_MOUNTS": "oss://data"}, "oss://data is not SOURCE=/MOUNTPOINT"),
        ({"OSSMOUNT_MOUNTS": "oss://data=mnt"}, "oss://data=mnt is not SOURCE=/MOUNTPOINT"),
        ({"OSSMOUNT_MOUNTS": "oss://a=/mnt oss://b=/mnt"}, "/mnt is named twice"),
    ],
)
def test_an_environment_that_does_not_say_it(environ: dict[str, str], said: str) -> None:
    with pytest.raises(WrongEnvironment, match=re.escape(said)):
        wanted(environ)
