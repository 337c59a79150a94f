"""`python -m benchmarks`: see README.md, or `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks import data, formats, install, limits, network, own, peers, quick, report, session
from benchmarks.peers import Peer
from benchmarks.processes import TimedOut, interrupts
from benchmarks.scenarios import SCENARIOS

DESCRIPTION = """\
Measures ossmount beside its rivals and beside the limits of this machine.

  python -m benchmarks quick                    ossmount, rclone and the limits, under 5 minutes (= make bench)
  python -m benchmarks list                     the scenarios, peers and networks
  python -m benchmarks report FILE…             Markdown and charts from result files
  python -m benchmarks install                  rclone into a scratch environment; s3fs with apt, when root
  python -m benchmarks data                     only makes the data and says where it lies
  python -m benchmarks --scenario epoch,walk --peer ossmount,rclone --latency none,region --rounds 3 --json FILE
"""
DEFAULT_PEERS = "ossmount,rclone,raw,local"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def own_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=("run", "quick", "list", "report", "data", "install"), default="run")
    parser.add_argument("files", nargs="*", type=Path, help="report: result files")
    parser.add_argument("--scenario", default="all", help="names separated by commas, or all")
    parser.add_argument("--peer", default=DEFAULT_PEERS, help=f"names separated by commas (default {DEFAULT_PEERS})")
    parser.add_argument("--latency", default="none,region", help="networks separated by commas (default none,region)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results are kept, also of an interrupted run")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="report: where it goes (default beside the first file)")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where the data lies (default %(default)s)")
    parser.add_argument("--scale", choices=sorted(data.SCALES), help="how much data (default full; quick: quick)")
    parser.add_argument("--tiny", action="store_const", const="tiny", dest="scale", help="the same as --scale tiny")
    parser.add_argument("--limit", type=float, default=120.0, metavar="SECONDS", help="a phase is cut off then")
    parser.add_argument("--peer-file", type=Path, action="append", default=[], metavar="TOML", help="further peers")
    parser.add_argument("--peer-command", action="append", default=[], metavar="NAME=COMMAND", help="one further peer")
    parser.add_argument("--mount-option", action="append", default=[], metavar="ARG", help="passed to `ossmount mount`")
    parser.add_argument("--endpoint", default="", metavar="URL", help="a real endpoint instead of our own store")
    parser.add_argument("--bucket", default="", help="with --endpoint: the bucket that holds the data")
    return parser


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "ossmount-bench"


def all_peers(arguments: argparse.Namespace) -> dict[str, Peer]:
    """Every peer that can be named. Raises ValueError for a description that is wrong."""
    found: list[Peer] = [*own.known(tuple(arguments.mount_option)), *limits.known(), *peers.known(arguments.cache.absolute())]
    for path in arguments.peer_file:
        found += peers.from_file(path)
    found += [peers.from_text(text) for text in arguments.peer_command]
    return {peer.name: peer for peer in found}


def settings_of(arguments: argparse.Namespace) -> session.Settings:
    """What the command line asks for; raises ValueError naming the option that is wrong."""
    known = all_peers(arguments)
    named = [peers.from_text(text).name for text in arguments.peer_command]
    scenarios = list(SCENARIOS) if arguments.scenario == "all" else _names("--scenario", arguments.scenario, SCENARIOS)
    if arguments.rounds < 1:
        raise ValueError(f"--rounds {arguments.rounds}: at least 1")
    if bool(arguments.endpoint) != bool(arguments.bucket):
        raise ValueError("--endpoint and --bucket belong together")
    networks = [network.REAL] if arguments.endpoint else [network.parse(name) for name in arguments.latency.split(",")]
    return session.Settings(
        scenarios=tuple(SCENARIOS[name] for name in scenarios),
        peers=tuple(known[name] for name in dict.fromkeys([*_names("--peer", arguments.peer, known), *named])),
        networks=tuple(networks),
        rounds=arguments.rounds,
        scale=data.SCALES[arguments.scale or "full"],
        cache=arguments.cache.absolute(),
        limit=arguments.limit,
        output=arguments.json,
        endpoint=arguments.endpoint,
        bucket=arguments.bucket,
    )


def _names(option: str, text: str, known: Collection[str]) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            raise ValueError(f"{option} {name}: unknown; there are {', '.join(known)}")
    return names


def show_list(arguments: argparse.Namespace) -> int:
    print("Scenarios")
    for scenario in SCENARIOS.values():
        phases = ", ".join(phase.name for phase in scenario.phases)
        print(f"  {scenario.name:14} {scenario.title} [{scenario.metric.unit}; {phases}]")
    print("Peers")
    for peer in all_peers(arguments).values():
        print(f"  {peer.name:18} {peer.missing() or 'ready'}")
    print("Networks (or OBJECT_MS/LIST_MS/MB_PER_SECOND)")
    for each in network.NETWORKS.values():
        print(f"  {each}")
    return 0


def make_report(arguments: argparse.Namespace) -> int:
    if not arguments.files:
        raise ValueError("report: name at least one result file")
    first: Path = arguments.files[0]
    for path in report.write(arguments.files, arguments.output or first.with_suffix(".md")):
        print(path)
    return 0


def make_data(arguments: argparse.Namespace) -> int:
    scale = data.SCALES[arguments.scale or "full"]
    print(data.ensure(arguments.cache.absolute(), scale, formats.SETS, list(formats.SETS), say) / data.BUCKET)
    return 0


def install_peers(arguments: argparse.Namespace) -> int:
    install.rclone(arguments.cache.absolute(), say)
    install.s3fs(say)
    return 0


def measure(arguments: argparse.Namespace) -> int:
    """Runs and prints the tables; 1 when something failed."""
    settings = quick.settings(arguments, settings_of) if arguments.command == "quick" else settings_of(arguments)
    if settings.output is None:
        handle, name = tempfile.mkstemp(prefix="ossmount-bench-", suffix=".json")
        os.close(handle)
        settings = session.with_output(settings, Path(name))
    try:
        measurements, described = session.run(settings, say)
    except KeyboardInterrupt:
        say(f"results until now: {settings.output}")
        raise
    found = report.table(measurements, [described])
    for each in found.networks:
        print(f"\nNetwork {each}: medians (smallest–largest)\n\n{report.plain(report.speed_table(found, each))}")
        print(f"\n{report.plain(report.cost_table(found, each))}")
    failed = report.failures(found)
    print("".join(f"\nfailed: {line}" for line in failed))
    print(f"Results: {settings.output}. Tables and charts: python -m benchmarks report {settings.output}")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    interrupts.install()
    arguments = own_parser().parse_args(argv)
    commands = {"list": show_list, "report": make_report, "data": make_data, "install": install_peers}
    try:
        return commands.get(arguments.command, measure)(arguments)
    except KeyboardInterrupt:
        say("interrupted: everything is unmounted and ended")
        return 130
    except (ValueError, RuntimeError, data.NotEnoughSpace, formats.Unavailable, install.Failed, TimedOut) as error:
        say(f"benchmarks: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
