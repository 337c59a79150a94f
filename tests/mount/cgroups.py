"""A cgroup of its own with a limit for the processes of one test. Where none can be made the test is skipped: in most
containers without privileges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import pytest

from benchmarks import cgroup
from benchmarks.cgroup import MemoryCgroup

__all__ = ["MemoryCgroup", "cpu_cgroup", "memory_cgroup"]

T = TypeVar("T")


def memory_cgroup(limit: int) -> AbstractContextManager[MemoryCgroup]:
    """One that may use so many bytes."""
    return _or_skipped(cgroup.memory_cgroup(limit, "ossmount-test"))


def cpu_cgroup(cpus: float) -> AbstractContextManager[Path]:
    """The folder of one that may use so many CPUs."""
    return _or_skipped(cgroup.cpu_cgroup(cpus, "ossmount-test"))


@contextlib.contextmanager
def _or_skipped(group: AbstractContextManager[T]) -> Iterator[T]:
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(group)
        except cgroup.NoCgroup as why:
            pytest.skip(str(why))
        yield made
