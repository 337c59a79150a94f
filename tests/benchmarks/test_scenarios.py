"""Every scenario at a tiny scale, end to end, over the peers that need nothing but the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import data, own, session
from benchmarks.limits import LocalPeer, RawPeer
from benchmarks.network import NETWORKS
from benchmarks.peers import Peer
from benchmarks.rounds import Measurement
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.base import Scenario

NEED_A_MOUNT = ("mount-time", "ls-100000")


def measured(cache: Path, peers: tuple[Peer, ...], *scenarios: Scenario, network: str = "none") -> list[Measurement]:
    settings = session.Settings(scenarios, peers, (NETWORKS[network],), 1, data.TINY, cache)
    results, _ = session.run(settings, lambda text: None)
    assert [each for each in results if each.error] == []
    return results


@pytest.fixture(scope="module")
def everything(bench_cache: Path) -> list[Measurement]:
    """All scenarios, once, over one store."""
    return measured(bench_cache, (RawPeer(), LocalPeer()), *SCENARIOS.values())


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in NEED_A_MOUNT])
def test_scenario(everything: list[Measurement], name: str) -> None:
    scenario = SCENARIOS[name]
    results = [each for each in everything if each.scenario == name]
    if scenario.missing():
        assert name == "dataloader" and results == []  # torch is an extra; every other scenario must run
        return
    for peer in (RawPeer(), LocalPeer()):
        phases = [phase.name for phase in scenario.phases if peer.kind in phase.kinds]
        assert [each.phase for each in results if each.peer == peer.name] == phases
    for each in results:
        assert each.value > 0 and each.seconds > 0 and each.operations > 0
        assert 0 < each.p50 <= each.p99


def test_raw_gets_are_the_requests_that_were_made(bench_cache: Path) -> None:
    (epoch,) = measured(bench_cache, (RawPeer(),), SCENARIOS["epoch"], network="region")
    assert epoch.operations == data.TINY.epoch_files
    assert epoch.requests == {"get": data.TINY.epoch_files, "head": 0, "list": 0, "other": 0, "bytes": epoch.bytes_}
    assert epoch.p50 >= 0.010  # the region's latency is 15 ms: load can only add to it


def test_ossmount_is_mounted_read_and_unmounted(bench_cache: Path) -> None:
    """Wrong bytes would be errors: the readers check the stamps of what they read. Every mount is cold."""
    chosen = [SCENARIOS[name] for name in ("mount-time", "epoch", "epoch-told", "ls-100000", "ls-100000")]
    results = measured(bench_cache, (own.known()[0],), *chosen)
    assert all(each.requests["list"] >= 2 for each in results if (each.scenario, each.phase) == ("ls-100000", "cold"))
    found = {(each.scenario, each.phase): each for each in results}
    assert found["epoch", "cold"].operations == data.TINY.epoch_files
    assert found["epoch", "cold"].requests["get"] > 0
    assert found["epoch", "cold"].peak_pss > 0
    assert found["epoch", "warm"].requests["get"] == 0
    assert found["epoch-told", "cold"].operations == data.TINY.epoch_files
    assert found["epoch-told", "cold"].requests["get"] == data.TINY.epoch_files
    assert found["ls-100000", "cold"].operations == data.TINY.large_listing
    assert "/ob-" not in Path("/proc/self/mountinfo").read_text()


def test_results_are_kept_after_every_measurement(bench_cache: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    settings = session.Settings(
        (SCENARIOS["ttfb"],), (RawPeer(),), (NETWORKS["none"],), 2, data.TINY, bench_cache, output=output
    )
    results, described = session.run(settings, lambda text: None)
    value = json.loads(output.read_text())
    assert [Measurement.from_dict(each) for each in value["measurements"]] == results
    assert [each.round for each in results] == [0, 1]
    assert value["machine"] == described["machine"]
