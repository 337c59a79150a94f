"""The report of `ossmount bench`: a table, bars, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ossmount.bench.measure import Phase

_BAR = 40  # characters of the longest


def line(phase: Phase) -> str:
    """One phase, as it is printed when it is done."""
    text = f"{phase.name:<20} {phase.rate:>10,.0f} {phase.unit}/s"
    if phase.bytes:
        text += f"  {phase.bandwidth / 1e6:>8,.0f} MB/s"
    if phase.p50:
        text += f"  p50 {phase.p50 * 1000:.1f} ms, p99 {phase.p99 * 1000:.1f} ms"
    return f"{text}  ({phase.done:,} in {phase.seconds:.1f} s)"


def bars(phases: Sequence[Phase]) -> str:
    """MB/s of the phases that read, beside each other."""
    read = [each for each in phases if each.bytes]
    most = max((each.bandwidth for each in read), default=0.0)
    if not most:
        return ""
    return "\n".join(
        f"{each.name:<20} {'█' * max(1, round(_BAR * each.bandwidth / most)):<{_BAR}} {each.bandwidth / 1e6:,.0f} MB/s"
        for each in read
    )


def picture(phases: Sequence[Phase], title: str, path: Path) -> None:
    """The same as a PNG. Raises ImportError where matplotlib is not installed, OSError where the file cannot be written."""
    from matplotlib.figure import Figure

    read = [each for each in phases if each.bytes][::-1]
    figure = Figure(figsize=(8, 1 + 0.6 * len(read)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh([each.name for each in read], [each.bandwidth / 1e6 for each in read], color="#2a6f97")
    axes.bar_label(drawn, [f"{each.bandwidth / 1e6:,.0f} MB/s, {each.rate:,.0f} {each.unit}/s" for each in read], padding=4)
    axes.set_xlim(0, 1.5 * max((each.bandwidth / 1e6 for each in read), default=1.0))
    axes.set_xlabel("MB/s")
    axes.set_title(title)
    figure.savefig(path, dpi=120, format="png")
