"""Runs scenarios over peers and networks in alternating rounds, and writes down what was measured."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.crew import Outcome
from benchmarks.data import Scale
from benchmarks.measure import Cost, meter, percentile
from benchmarks.network import Network
from benchmarks.peers import MountFailed, Peer, Target
from benchmarks.processes import TimedOut, interrupts
from benchmarks.scenarios.base import Context, Phase, Scenario
from benchmarks.store import Store


@dataclass(frozen=True)
class Measurement:
    """One phase of one scenario, once. Sizes are bytes, times seconds; error is "" when the figures mean something."""

    scenario: str
    phase: str
    peer: str
    network: str
    round: int
    unit: str
    higher_is_better: bool
    value: float = 0.0
    operations: int = 0
    bytes_: int = 0
    seconds: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    cpu: float = 0.0
    peak_pss: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    error: str = ""

    @staticmethod
    def from_dict(value: dict[str, Any]) -> Measurement:
        return Measurement(**value)


class Run(NamedTuple):
    """One mount of one peer: all phases of one scenario."""

    scenario: Scenario
    peer: Peer
    network: Network
    round: int

    @property
    def phases(self) -> list[Phase]:
        return [phase for phase in self.scenario.phases if self.peer.kind in phase.kinds]

    def __str__(self) -> str:
        return f"{self.scenario.name} · {self.peer.name} · {self.network.name} · round {self.round + 1}"


class Bench(NamedTuple):
    """What all runs share."""

    store: Store
    data: Path
    scale: Scale
    scratch: Path
    limit: float  # seconds for a phase at most, whatever the scenario says
    bucket: str = ""  # instead of the scenario's own


ONCE = ("local", "null")  # kinds of peers that ask no store: one network is enough


def plan(scenarios: Sequence[Scenario], peers: Sequence[Peer], networks: Sequence[Network], rounds: int) -> list[Run]:
    """Systems alternate inside each round (A B A B): what drifts hits all of them. What asks no store runs once."""
    runs = []
    for scenario in scenarios:
        for place, network in enumerate(networks):
            for round_ in range(rounds):
                for peer in peers:
                    run = Run(scenario, peer, network, round_)
                    if run.phases and (peer.kind not in ONCE or place == 0):
                        runs.append(run)
    return runs


def measure(bench: Bench, run: Run, record: Callable[[Measurement], None]) -> None:
    """Mounts, measures each phase, unmounts. Whatever fails is a measurement with an error, not an exception."""
    done = 0
    try:
        with _folders(bench) as (mountpoint, scratch):
            bucket = bench.bucket or run.scenario.bucket(bench.scale)
            target = Target(bucket, bench.store.url(run.network), mountpoint, scratch, bench.data)
            mark = bench.store.mark()
            with run.peer.mounted(target) as mounted:
                limit = min(bench.limit, run.scenario.limit)
                context = Context(mounted, bench.scale, run.round, limit)
                for phase in run.phases:
                    # What was asked while mounting belongs to the first phase: some list ahead there.
                    record(_measure_phase(bench, run, phase, context, mark if done == 0 else None))
                    done += 1
    except (MountFailed, TimedOut, OSError, RuntimeError) as failure:
        for name in [phase.name for phase in run.phases[done:]] or ["unmount"]:
            record(failed(run, name, f"{type(failure).__name__}: {failure}"))


def _measure_phase(bench: Bench, run: Run, phase: Phase, context: Context, mark: int | None) -> Measurement:
    if phase.before is not None:
        phase.before(context)
    with meter(context.mounted.pids, bench.store, bench.store.mark() if mark is None else mark) as cost:
        outcome = phase.measure(context)
    if outcome.errors:
        return failed(run, phase.name, outcome.errors[0])
    return _result(run, phase, outcome, cost)


def _result(run: Run, phase: Phase, outcome: Outcome, cost: Cost) -> Measurement:
    requests = cost.requests
    metric = run.scenario.metric
    return Measurement(
        run.scenario.name,
        phase.name,
        run.peer.name,
        run.network.name,
        run.round,
        metric.unit,
        metric.higher_is_better,
        metric.value(outcome),
        outcome.operations,
        outcome.bytes_,
        outcome.seconds,
        percentile(outcome.latencies, 0.50),
        percentile(outcome.latencies, 0.99),
        cost.cpu,
        cost.peak_pss,
        {"get": requests.get, "head": requests.head, "list": requests.list, "other": requests.other, "bytes": requests.bytes_},
    )


def failed(run: Run, phase: str, error: str) -> Measurement:
    metric = run.scenario.metric
    return Measurement(
        run.scenario.name,
        phase,
        run.peer.name,
        run.network.name,
        run.round,
        metric.unit,
        metric.higher_is_better,
        error=error,
    )


@contextlib.contextmanager
def _folders(bench: Bench) -> Iterator[tuple[Path, Path]]:
    """An empty mountpoint and an empty scratch folder."""
    folder = Path(tempfile.mkdtemp(dir=bench.scratch, prefix="run-"))
    mountpoint, scratch = folder / "mnt", folder / "own"
    mountpoint.mkdir()
    scratch.mkdir()
    try:
        yield mountpoint, scratch
    finally:
        mountpoint.rmdir()  # fails loudly while anything is mounted on it: never delete through a mount
        shutil.rmtree(folder)


class Progress:
    """Says what runs and how long is left, judged by what the same scenario and peer took before."""

    def __init__(self, runs: Sequence[Run], say: Callable[[str], None]) -> None:
        self._runs = runs
        self._say = say
        self._took: dict[tuple[str, str], list[float]] = {}

    def start(self, number: int) -> None:
        left = sum(self._expected(run) for run in self._runs[number:])
        self._say(f"[{number + 1}/{len(self._runs)}] {self._runs[number]} — about {_duration(left)} left")

    def end(self, number: int, seconds: float) -> None:
        run = self._runs[number]
        self._took.setdefault((run.scenario.name, run.peer.name), []).append(seconds)

    def _expected(self, run: Run) -> float:
        known = self._took.get((run.scenario.name, run.peer.name))
        if known is None:
            known = [seconds for took in self._took.values() for seconds in took] or [6.0]
        return sum(known) / len(known)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def run_all(bench: Bench, runs: Sequence[Run], record: Callable[[Measurement], None], say: Callable[[str], None]) -> None:
    """Every run of the plan, one after the other."""

    def told(measured: Measurement) -> None:
        say(f"    {summary(measured)}")
        record(measured)

    progress = Progress(runs, say)
    for number, run in enumerate(runs):
        interrupts.check()
        progress.start(number)
        began = time.monotonic()
        measure(bench, run, told)
        progress.end(number, time.monotonic() - began)


def summary(measured: Measurement) -> str:
    """One line about one measurement."""
    if measured.error:
        return f"{measured.phase}: failed: {measured.error}"
    requests = measured.requests
    asked = f"{requests['get']} GET, {requests['head']} HEAD, {requests['list']} LIST"
    memory = f", {measured.cpu:.2f} s CPU, {measured.peak_pss / 2**20:.0f} MiB" if measured.peak_pss else ""
    return f"{measured.phase}: {measured.value:,.0f} {measured.unit} ({asked}{memory})"
