"""The soak as one picture: a line for each process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.soak.samples import Sample

Values = Callable[[Sample], dict[str, float]]


def _mebibytes(values: dict[str, int]) -> dict[str, float]:
    return {name: value / 2**20 for name, value in values.items()}


_PANELS: tuple[tuple[str, Values], ...] = (
    ("own memory (anonymous: no slab, no files) in MiB", lambda sample: _mebibytes(sample.own)),
    ("mapped files in MiB, the metadata store among them", lambda sample: _mebibytes(sample.mapped)),
    ("PSS of all in MiB", lambda sample: {"with the slab": sum(_mebibytes(sample.pss).values())}),
    ("RSS in MiB (the slab counts in each process that has it)", lambda sample: _mebibytes(sample.rss)),
    ("descriptors", lambda sample: dict(sample.descriptors)),
    (
        "tasks of the daemon, threads",
        lambda s: {"tasks": s.tasks, **{f"threads of {name}": v for name, v in s.threads.items()}},
    ),
    ("MiB on disk", lambda s: {"metadata": s.metadata / 2**20, "cache": s.cache / 2**20, "log": s.log / 2**20}),
)


def draw(samples: Sequence[Sample], title: str, output: Path) -> None:
    """Writes a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 18), layout="constrained")
    FigureCanvasAgg(figure)
    minutes = [sample.at / 60 for sample in samples]
    settled = max((sample.at / 60 for sample in samples if sample.settling), default=0.0)
    panels: Any = figure.subplots(len(_PANELS), sharex=True)
    for axes, (name, values) in zip(panels, _PANELS, strict=True):
        lines = [values(sample) for sample in samples]
        for label in sorted({label for line in lines for label in line}):
            axes.plot(minutes, [line.get(label, float("nan")) for line in lines], label=label, linewidth=1.2)
        axes.set_ylim(bottom=0)
        if settled:
            axes.axvspan(0, settled, color="#eeeeee", zorder=0)
        axes.set_title(name, loc="left", fontsize=10)
        axes.grid(color="#e4e4e4")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[-1].set_xlabel("minutes; grey: until all is known and every cache is full")
    figure.suptitle(title, fontsize=11)
    figure.savefig(output, dpi=100)
