"""The order of runs, and what becomes of peers that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import data, peers, rounds, session
from benchmarks.crew import Outcome
from benchmarks.limits import LocalPeer, RawPeer
from benchmarks.network import NETWORKS
from benchmarks.rounds import plan
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.base import FILES, Context, Phase, Scenario, rate

NONE, REGION = NETWORKS["none"], NETWORKS["region"]


def test_systems_alternate_within_a_network() -> None:
    a, b = RawPeer("a"), RawPeer("b")
    runs = plan([SCENARIOS["epoch"]], [a, b], [NONE, REGION], 2)
    assert [(run.network.name, run.round, run.peer.name) for run in runs] == [
        (network, round_, peer) for network in ("none", "region") for round_ in (0, 1) for peer in ("a", "b")
    ]


def test_what_a_peer_cannot_do_is_not_planned_and_local_files_know_no_network() -> None:
    runs = plan([SCENARIOS["mount-time"], SCENARIOS["ttfb"]], [RawPeer(), LocalPeer()], [NONE, REGION], 1)
    assert [(run.scenario.name, run.peer.name, run.network.name) for run in runs] == [
        ("ttfb", "raw", "none"),
        ("ttfb", "local", "none"),
        ("ttfb", "raw", "region"),
    ]


def test_a_peer_that_does_not_mount_is_reported_and_the_others_go_on(bench_cache: Path) -> None:
    broken = peers.from_text("broken=sh -c 'echo no such bucket; exit 1' {mountpoint}")
    settings = session.Settings((SCENARIOS["ttfb"],), (broken, LocalPeer()), (NONE,), 1, data.TINY, bench_cache)
    results, _ = session.run(settings, lambda text: None)
    assert [(each.peer, each.error) for each in results] == [("broken", "MountFailed: no such bucket"), ("local", "")]


def test_a_phase_that_hangs_is_cut_off_and_reported(bench_cache: Path) -> None:
    scenario = Scenario(
        "hanging", "", rate("files"), (), tuple(Phase(name, hang, FILES) for name in ("cold", "warm")), limit=1.0
    )
    settings = session.Settings((scenario,), (LocalPeer(),), (NONE,), 1, data.TINY, bench_cache)
    results, _ = session.run(settings, lambda text: None)
    assert [each.phase for each in results] == ["cold", "warm"]
    assert all("did not end in time" in each.error for each in results)


def hang(context: Context) -> Outcome:
    return context.run("tests.benchmarks.helpers:hang", [{}])


def test_peers_that_are_not_installed_are_left_out_with_a_line(bench_cache: Path) -> None:
    said: list[str] = []
    absent = peers.CommandPeer("absent", ("no-such-program", "{mountpoint}"), install="apt-get install it")
    settings = session.Settings((SCENARIOS["ttfb"],), (absent, LocalPeer()), (NONE,), 1, data.TINY, bench_cache)
    results, _ = session.run(settings, said.append)
    assert [each.peer for each in results] == ["local"]
    assert "absent is skipped: no-such-program is not there: apt-get install it" in said


def test_time_left_is_judged_by_what_the_same_took_before() -> None:
    said: list[str] = []
    runs = plan([SCENARIOS["ttfb"]], [RawPeer(), LocalPeer()], [NONE], 3)
    progress = rounds.Progress(runs, said.append)
    progress.start(0)
    progress.end(0, 10.0)
    progress.end(1, 20.0)
    progress.start(2)
    assert said[-1] == "[3/6] ttfb · raw · none · round 2 — about 60 s left"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\ncommand = 5", "needs command"),
        ('[a]\ncommand = ["x"]\nspeed = 1', "unknown entries: speed"),
        ("a = [", "peers.toml"),
    ],
)
def test_wrong_peer_files_name_file_and_entry(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        peers.from_file(path)


def test_peers_from_a_file() -> None:
    example = Path(peers.__file__).parent / "peers.example.toml"
    found = peers.from_file(example)
    assert [peer.name for peer in found] == ["ossfs2", "goofys"]
    assert all("{mountpoint}" in peer.command for peer in found)
