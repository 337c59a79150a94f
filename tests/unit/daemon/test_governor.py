"""The governor in made-up machines."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossmount.daemon.governor import BESIDE, CALM, LEAST, LEAST_CONNECTIONS, Governor, Look, Shares

MIB, GIB = 1 << 20, 1 << 30
PLENTY = Look(64 * GIB, 60 * GIB, 0, 80 * MIB)


class Machine:
    """A machine or container: what it has, what others take of it, and a mount whose slab takes what it may."""

    def __init__(self, total: int, limit: int, *, others: int = 0, beside: int = 80 * MIB) -> None:
        self.total, self.others, self.beside = total, others, beside
        self.slab = 0
        self.governor = Governor(limit, 128, self.look())

    def look(self) -> Look:
        return Look(self.total, self.total - self.others - self.beside - self.slab, self.slab, self.beside)

    def run(self, looks: int = 1) -> Shares:
        """The slab grows to what it may take between two looks; what it may not take any more it gives back."""
        for _ in range(looks):
            self.slab = self.governor.step(self.look()).slab
            assert self.slab + self.beside + self.others <= self.total or self.slab == LEAST
        return self.governor.shares


def test_with_plenty_of_memory_the_limit_is_used() -> None:
    shares = Machine(64 * GIB, GIB).run(10)
    assert (shares.slab, shares.ahead, shares.look_ahead, shares.connections) == (GIB, 3 * GIB // 4, GIB // 2, 128)
    assert shares.kernel > 20 * GIB


def test_whole_files_give_way_first_then_windows_then_the_rest() -> None:
    machine = Machine(4 * GIB, GIB)
    machine.run()
    found = []
    for others in range(2 * GIB, 4 * GIB, 64 * MIB):
        machine.others = others
        found.append(machine.run())
    assert [shares.slab for shares in found] == sorted([shares.slab for shares in found], reverse=True)
    windows = [shares.ahead - shares.look_ahead for shares in found]
    for shares, window in zip(found, windows, strict=True):
        assert window == GIB // 4 or not shares.look_ahead
        assert 0 <= shares.ahead < shares.slab
        assert not shares.kernel or shares.look_ahead
    last = found[-1]
    assert (last.slab, last.look_ahead, last.connections) == (LEAST, 0, LEAST_CONNECTIONS)
    assert last.ahead == LEAST // 2


def test_it_falls_at_once_and_comes_back_in_steps() -> None:
    machine = Machine(4 * GIB, GIB)
    machine.run()
    machine.others = 4 * GIB - 80 * MIB - 700 * MIB
    assert machine.run().slab <= 700 * MIB - 256 * MIB
    machine.others = 0
    slabs = [machine.run().slab for _ in range(20 * CALM)]
    assert slabs[-1] == GIB
    steps = [after - before for before, after in itertools.pairwise(slabs) if after != before]
    assert set(steps) == {GIB // 16}
    assert slabs[: CALM - 1] == [slabs[0]] * (CALM - 1)


def test_memory_that_comes_and_goes_does_not_make_it_swing() -> None:
    machine = Machine(4 * GIB, GIB)
    machine.run()
    slabs = []
    for number in range(100):
        machine.others = 3 * GIB + (100 * MIB if number % 3 else 0)
        slabs.append(machine.run().slab)
    assert len(set(slabs[10:])) == 1


def test_a_limit_of_the_cgroup_that_changes_while_it_runs() -> None:
    machine = Machine(4 * GIB, GIB)
    machine.run(3)
    machine.total = 512 * MIB
    assert machine.run().slab <= 512 * MIB - 80 * MIB - 32 * MIB
    assert machine.governor.reason.startswith("machine or container")
    machine.total = 4 * GIB
    assert machine.run(20 * CALM).slab == GIB
    assert machine.governor.reason == ""


def test_what_the_processes_take_beside_the_slab_counts() -> None:
    machine = Machine(64 * GIB, GIB)
    machine.run()
    machine.beside = BESIDE + 300 * MIB
    assert machine.run().slab + machine.beside <= GIB + BESIDE
    assert machine.governor.reason == "the processes take much beside it"
    machine.beside = 4 * GIB
    assert machine.run().slab == GIB // 2


@pytest.mark.parametrize("limit", [16 * MIB, 20 * MIB])
def test_a_small_limit_is_never_left(limit: int) -> None:
    governor = Governor(limit, 4, PLENTY)
    shares = governor.step(Look(64 * MIB, 0, limit, 200 * MIB))
    assert shares.slab == 16 * MIB
    assert shares.connections >= 3
    assert shares.ahead >= 4 * MIB


@given(st.lists(st.tuples(*[st.integers(0, 8 * GIB)] * 4), max_size=30), st.integers(16 * MIB, 4 * GIB), st.integers(1, 512))
def test_shares_are_always_possible(looks: list[tuple[int, int, int, int]], limit: int, connections: int) -> None:
    governor = Governor(limit, connections, PLENTY)
    for look in looks:
        shares = governor.step(Look(*look))
        assert LEAST <= shares.slab <= limit
        assert 0 <= shares.look_ahead <= shares.ahead <= shares.slab * 3 // 4 + 1
        assert 1 <= shares.connections <= connections
        assert shares.kernel >= 0
