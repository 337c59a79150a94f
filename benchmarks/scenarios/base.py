"""What a scenario is: data sets, a mount, and phases that are measured one after the other on that mount."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks import crew
from benchmarks.crew import Outcome
from benchmarks.data import BUCKET, Scale, train_key, train_sizes
from benchmarks.peers import Mounted
from benchmarks.worker import Task

MOUNT, OWN, GETS, LOCAL, NULL = "mount", "own", "gets", "local", "null"  # kinds of peers
TOLD = frozenset({OWN})  # those that can be told what will be read
BUCKET_MOUNTS = frozenset({MOUNT, OWN})
MOUNTS = BUCKET_MOUNTS | {NULL}
DATA = BUCKET_MOUNTS | {LOCAL}  # files that hold the data
FILES = DATA | {NULL}
ALL = FILES | {GETS}
NULL_FILES, NULL_SIZE = 10_000, 110_000  # what the null file system is started with


class Context(NamedTuple):
    """What a phase may use."""

    mounted: Mounted
    scale: Scale
    round: int  # orders and offsets differ between rounds and are the same for all peers of one
    limit: float  # seconds that the phase may take

    def random(self, purpose: str) -> random.Random:
        return random.Random(f"{purpose}/{self.scale.name}/{self.round}")

    def run(self, work: str, arguments: Sequence[Mapping[str, Any]]) -> Outcome:
        """Runs one reader process for each of the arguments."""
        return crew.run([Task(work, self.mounted.place, dict(each)) for each in arguments], self.limit)


Measure = Callable[[Context], Outcome]


@dataclass(frozen=True)
class Phase:
    """One measurement. before() prepares it and is not measured."""

    name: str
    measure: Measure
    kinds: frozenset[str] = ALL
    before: Callable[[Context], None] | None = None


@dataclass(frozen=True)
class Metric:
    """The one number by which systems are compared."""

    unit: str
    value: Callable[[Outcome], float]
    higher_is_better: bool = True


def rate(unit: str) -> Metric:
    return Metric(f"{unit}/s", lambda outcome: outcome.operations / outcome.seconds)


MB_PER_SECOND = Metric("MB/s", lambda outcome: outcome.bytes_ / outcome.seconds / 1e6)
MILLISECONDS = Metric("ms", lambda outcome: outcome.seconds * 1e3, higher_is_better=False)


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    metric: Metric
    sets: tuple[str, ...]
    phases: tuple[Phase, ...]
    bucket: Callable[[Scale], str] = lambda scale: BUCKET
    limit: float = 120.0  # seconds for each phase
    missing: Callable[[], str] = lambda: ""  # why it cannot run here, with what to do


def cold_and_warm(measure: Measure, kinds: frozenset[str] = ALL) -> tuple[Phase, ...]:
    """The first phase on a fresh mount, then the same again. Plain GETs have no cache: for them cold only."""
    return Phase("cold", measure, kinds), Phase("warm", measure, kinds - {GETS})


def shares(items: Sequence[Any], readers: int) -> list[list[Any]]:
    """Deals the items out to the readers, as a sampler does."""
    return [list(items[reader::readers]) for reader in range(min(readers, len(items)))]


def big_key(context: Context) -> str:
    """The one large file, of at least scale.big bytes."""
    return "big" if context.mounted.place.null else "big/0.bin"


def epoch_order(context: Context, *, whole: bool = False) -> list[tuple[str, int]]:
    """The (key, size) of the files of one epoch (whole: of all there are), in random order."""
    sizes = train_sizes(context.scale)
    count = len(sizes) if whole else context.scale.epoch_files
    chosen = context.random("epoch").sample(range(len(sizes)), count)
    if context.mounted.place.null:
        return [(f"f{number}", NULL_SIZE) for number in chosen]
    return [(train_key(context.scale, number), sizes[number]) for number in chosen]
