"""Why reads are slow: one rule for each reason, from the numbers of two looks to a finding in plain words.

A rule is a function of Looks that returns a finding or None. `weight` orders the findings: what stands in the way of everything
else comes first (no answer from OSS before a slow one, a limit before what it causes).
"""

from __future__ import annotations

from collections.abc import Callable

from ossmount.insight import slowness, trouble
from ossmount.insight.finding import Finding, waiting_of
from ossmount.insight.looks import Looks, count, percent, size, spread

Rule = Callable[[Looks], Finding | None]

RULES: tuple[Rule, ...] = (
    trouble.credentials,
    trouble.unreachable,
    trouble.throttled,
    trouble.limited,
    trouble.slow_disk,
    trouble.little_memory,
    trouble.cpu_bound,
    slowness.cache_too_small,
    slowness.metadata_expires,
    slowness.names_unknown,
    slowness.no_connections,
    slowness.slow_store,
    slowness.slow_transfer,
    slowness.window_too_small,
    slowness.small_random_reads,
    slowness.too_much_fetched,
)


def findings(looks: Looks) -> list[Finding]:
    """All that apply, the weightiest first; one that says so when nothing is wrong."""
    made = [finding for rule in RULES if (finding := rule(looks)) is not None]
    return sorted(made, key=lambda finding: -finding.weight) or [_nothing_wrong(looks)]


def _nothing_wrong(looks: Looks) -> Finding:
    reads = looks.durations("facts.channel.durations.READ")
    if not reads["count"]:
        return Finding(
            "idle",
            "Nothing is wrong: nobody reads, or the kernel has everything in its page cache already.",
            (f"no READ reached the mount in {looks.seconds:.0f} s",),
            (),
            0,
        )
    return Finding(
        "fine",
        "Nothing is wrong with the mount.",
        (
            f"{count(reads['count'])} READs in {looks.seconds:.0f} s, {spread(reads)}",
            f"{percent(1 - waiting_of(looks))} of them did not wait for OSS; "
            f"{size(looks.rate('facts.channel.bytes_read'))} a second",
        ),
        ("if training is slow all the same, look at the readers: decoding, the number of workers, the GPU",),
        0,
    )
