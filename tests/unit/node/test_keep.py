"""What the keeper's container tells its mounts."""

from __future__ import annotations

import pytest

from ossmount.node.keep import counted_up


@pytest.mark.parametrize(
    ("told", "number", "expected"),
    [
        ("9464", 0, "9464"),
        ("9464", 2, "9466"),
        ("0.0.0.0:9464", 1, "0.0.0.0:9465"),
        ("[::]:9464", 1, "[::]:9465"),
        ("nonsense", 1, "nonsense"),  # `ossmount mount` says what is wrong with it
    ],
)
def test_each_mount_of_a_node_shows_its_numbers_at_a_port_of_its_own(told: str, number: int, expected: str) -> None:
    assert counted_up(told, number) == expected
