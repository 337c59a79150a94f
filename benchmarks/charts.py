"""Bars of ratios: how many times faster ossmount is than each rival, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

COLOURS = ("#2a78b5", "#e08a2e", "#4f9d69", "#b5484c", "#8467a9", "#7a7a7a")


def draw(
    network: str,
    rivals: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float | None]]],
    output: Path,
    text: Callable[[float], str],
) -> None:
    """One network's ratios as a PNG. rows: what was measured, and the ratio to each rival; text: of a ratio."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.4 + len(rows) * (0.16 + 0.2 * len(rivals))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    height = 0.8 / len(rivals)
    for place, rival in enumerate(rivals):
        shown = [(line, ratios[place]) for line, (_, ratios) in enumerate(rows)]
        lines = [line + place * height for line, value in shown if value is not None]
        values = [value for _, value in shown if value is not None]
        bars = axes.barh(lines, [value - 1 for value in values], height * 0.92, left=1, color=COLOURS[place % len(COLOURS)])
        axes.bar_label(bars, [f" {text(value)}× " for value in values], fontsize=8, color="#333333")
        bars.set_label(f"against {rival}")
    axes.set_xscale("log")
    axes.axvline(1, color="#333333", linewidth=1)
    axes.set_yticks([line + 0.4 - height / 2 for line in range(len(rows))], [name for name, _ in rows])
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.grid(axis="x", color="#e4e4e4")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"How many times better ossmount is · network: {network}", loc="left", fontsize=11)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=len(rivals), frameon=False)
    figure.savefig(output, dpi=120)
