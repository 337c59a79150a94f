"""One whole benchmark: data, store, rounds, results; everything is ended whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import data, formats, machine, store
from benchmarks.data import Scale
from benchmarks.network import Network
from benchmarks.peers import Peer
from benchmarks.rounds import Bench, Measurement, plan, run_all
from benchmarks.scenarios.base import Scenario
from benchmarks.store import RealStore

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What is to be measured."""

    scenarios: tuple[Scenario, ...]
    peers: tuple[Peer, ...]
    networks: tuple[Network, ...]
    rounds: int
    scale: Scale
    cache: Path
    limit: float = 120.0  # seconds for each phase at most
    output: Path | None = None  # results as JSON, rewritten after every measurement
    endpoint: str = ""  # a real endpoint instead of our own store
    bucket: str = ""  # the bucket there


def with_output(settings: Settings, output: Path) -> Settings:
    return replace(settings, output=output)


def run(settings: Settings, say: Say) -> tuple[list[Measurement], dict[str, object]]:
    """Measures everything; returns the measurements and the description of machine and settings."""
    scenarios, peers = _possible(settings, say)
    described = describe(settings)
    measurements: list[Measurement] = []

    def record(measured: Measurement) -> None:
        measurements.append(measured)
        if settings.output is not None:
            save(settings.output, described, measurements)

    wanted = sorted({name for scenario in scenarios for name in scenario.sets})
    root = data.ensure(settings.cache, settings.scale, formats.SETS, wanted, say)
    with contextlib.ExitStack() as stack:
        # Short: the path of a Unix socket may have 107 bytes.
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ob-")))
        if settings.endpoint:
            serving: store.Store = RealStore(settings.endpoint)
        else:
            say("bringing the data into the store's page cache")
            data.read_once(root, wanted)
            serving = stack.enter_context(store.serve(scratch, root, settings.networks))
        bench = Bench(serving, root, settings.scale, scratch, settings.limit, settings.bucket)
        run_all(bench, plan(scenarios, peers, settings.networks, settings.rounds), record, say)
    return measurements, described


def _possible(settings: Settings, say: Say) -> tuple[list[Scenario], list[Peer]]:
    """Leaves out, with a line each, what this machine cannot do."""
    scenarios = []
    for scenario in settings.scenarios:
        why = scenario.missing()
        if settings.endpoint and scenario.bucket(settings.scale) != data.BUCKET:
            why = "its bucket exists only in our own store"
        if why:
            say(f"scenario {scenario.name} is skipped: {why}")
        else:
            scenarios.append(scenario)
    peers = []
    for peer in settings.peers:
        why = "plain GETs are not signed" if settings.endpoint and peer.kind == "gets" else peer.missing()
        if why:
            say(f"{peer.name} is skipped: {why}")
        else:
            peers.append(peer)
    return scenarios, peers


def describe(settings: Settings) -> dict[str, object]:
    return {
        "machine": machine.describe(),
        "settings": {
            "scale": settings.scale.name,
            "rounds": settings.rounds,
            "networks": "; ".join(str(network) for network in settings.networks),
        },
        "started": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def save(output: Path, described: dict[str, object], measurements: Sequence[Measurement]) -> None:
    """Replaces the result file in one step: an interrupted run leaves what it had."""
    text = json.dumps({**described, "measurements": [asdict(each) for each in measurements]}, indent=1)
    fresh = output.with_name(f".{output.name}.new")
    fresh.write_text(text + "\n")
    os.replace(fresh, output)
