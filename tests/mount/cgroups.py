"""A cgroup of its own with a memory limit for the processes of one test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from benchmarks import cgroup
from benchmarks.cgroup import MemoryCgroup

__all__ = ["MemoryCgroup", "memory_cgroup"]


@contextlib.contextmanager
def memory_cgroup(limit: int) -> Iterator[MemoryCgroup]:
    """Skips the test where no cgroup can be made: in most containers without privileges."""
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(cgroup.memory_cgroup(limit, "ossmount-test"))
        except cgroup.NoCgroup as why:
            pytest.skip(str(why))
        yield made
