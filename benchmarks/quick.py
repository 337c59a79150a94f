"""The quick set: ossmount, rclone (tuned) and the limits, under five minutes on two cores."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks.session import Settings

SCENARIOS = "mount-time,ttfb,walk,ls,epoch,sequential,random-64k,random-1m"
PEERS = "ossmount,rclone-tuned,null,raw,local"  # rclone as somebody sets it who has read its manual
LIMIT = 30.0  # seconds: a phase that takes longer would break the promise of five minutes


def settings(arguments: argparse.Namespace, parse: Callable[[argparse.Namespace], Settings]) -> Settings:
    """The quick set, with what the command line says besides."""
    chosen = {
        "scenario": SCENARIOS if arguments.scenario == "all" else arguments.scenario,
        "peer": PEERS,
        "rounds": 1,
        "scale": arguments.scale or "quick",
        "limit": min(arguments.limit, LIMIT),
    }
    return parse(argparse.Namespace(**{**vars(arguments), **chosen}))
