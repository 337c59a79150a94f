"""Results for people: Markdown tables and charts of ratios, from one or several JSON files."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import charts
from benchmarks.rounds import Measurement
from benchmarks.scenarios import SCENARIOS

OURS = "ossmount"
LIMITS = ("null", "null-pyfuse3", "null-bare", "raw", "local")  # not rivals: what the machine can do at all
EVERYWHERE = ("local", "null", "null-pyfuse3", "null-bare")  # measured once, shown beside every network
COLUMNS = ("ossmount", "ossmount-pyfuse3", "rclone", "rclone-tuned", "s3fs")  # first, in this order


class Row(NamedTuple):
    """One line of a table: one phase of one scenario on one network."""

    scenario: str
    phase: str
    network: str
    unit: str
    higher_is_better: bool

    def __str__(self) -> str:
        return f"{self.scenario} {self.phase}"


class Cell(NamedTuple):
    """All rounds of one peer in one row."""

    good: list[Measurement]
    errors: list[str]

    @property
    def value(self) -> float:
        return statistics.median(each.value for each in self.good)

    @property
    def spread(self) -> tuple[float, float]:
        return min(each.value for each in self.good), max(each.value for each in self.good)


class Table(NamedTuple):
    """Everything that was measured, in the order of the scenarios."""

    rows: dict[Row, dict[str, Cell]]
    peers: list[str]
    networks: list[str]
    descriptions: list[dict[str, Any]]  # machine and settings of each file

    def of(self, network: str) -> dict[Row, dict[str, Cell]]:
        return {row: cells for row, cells in self.rows.items() if row.network == network}


def load(files: Iterable[Path]) -> Table:
    """Reads result files; raises ValueError naming the one that is no result file."""
    measurements: list[Measurement] = []
    descriptions = []
    for file in files:
        try:
            value = json.loads(file.read_text())
            measurements += [Measurement.from_dict(each) for each in value["measurements"]]
            descriptions.append({name: value[name] for name in ("machine", "settings", "started")})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no result of the benchmarks: {error}") from error
    return table(measurements, descriptions)


def table(measurements: Sequence[Measurement], descriptions: list[dict[str, Any]]) -> Table:
    rows: dict[Row, dict[str, Cell]] = {}
    order = list(SCENARIOS)
    for each in sorted(measurements, key=lambda one: order.index(one.scenario) if one.scenario in order else len(order)):
        row = Row(each.scenario, each.phase, each.network, each.unit, each.higher_is_better)
        cell = rows.setdefault(row, {}).setdefault(each.peer, Cell([], []))
        if each.error:
            cell.errors.append(each.error)
        else:
            cell.good.append(each)
    names = list(dict.fromkeys(each.peer for each in measurements))
    rivals = [name for name in (*COLUMNS, *names) if name in names and name not in LIMITS]
    peers = list(dict.fromkeys([*rivals, *(name for name in LIMITS if name in names)]))
    return Table(rows, peers, list(dict.fromkeys(each.network for each in measurements)), descriptions)


def ratio(row: Row, ours: Cell | None, theirs: Cell | None) -> float | None:
    """How many times better ours is (above 1) or worse; None where one of them has no value."""
    if ours is None or theirs is None or not ours.good or not theirs.good or not ours.value or not theirs.value:
        return None
    return ours.value / theirs.value if row.higher_is_better else theirs.value / ours.value


def number(value: float) -> str:
    """About three significant digits, never in scientific notation."""
    if value >= 100:
        return f"{value:,.0f}"
    if 0 < value < 0.1:
        return f"{value:.4f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cell_text(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    if not cell.good:
        return "failed"
    low, high = cell.spread
    spread = f" ({number(low)}–{number(high)})" if len(cell.good) > 1 else ""
    return number(cell.value) + spread + (f", {len(cell.errors)} failed" if cell.errors else "")


def _ratio_text(value: float | None) -> str:
    return "–" if value is None else f"{number(value)}×"


def speed_table(found: Table, network: str) -> list[list[str]]:
    """Header and lines: the value of every peer and our ratio to each of them."""
    others = [peer for peer in found.peers if peer != OURS] if OURS in found.peers else []
    lines = [["scenario", "unit", *found.peers, *(f"{OURS} ÷ {peer}" for peer in others)]]
    for row, cells in rows_of(found, network).items():
        ratios = [_ratio_text(ratio(row, cells.get(OURS), cells.get(peer))) for peer in others]
        lines.append([str(row), row.unit, *(_cell_text(cells.get(peer)) for peer in found.peers), *ratios])
    return lines


def cost_table(found: Table, network: str) -> list[list[str]]:
    """Header and lines: latency, processor, memory and requests of every peer that served a row."""
    lines = [["scenario", "system", "p50 ms", "p99 ms", "CPU s/GiB", "CPU ms/op", "peak MiB", "GET", "HEAD", "LIST", "bytes ×"]]
    for row, cells in rows_of(found, network).items():
        for peer in found.peers:
            cell = cells.get(peer)
            if cell is not None and cell.good:
                lines.append([str(row), peer, *_costs(cell.good)])
    return lines


def rows_of(found: Table, network: str) -> dict[Row, dict[str, Cell]]:
    """The rows of a network; local files, measured once, stand beside every network's."""
    rows = {}
    for row, cells in found.of(network).items():
        if row.phase == "unmount":
            continue
        local = {
            peer: cell
            for other, others in found.rows.items()
            if other._replace(network=network) == row
            for peer, cell in others.items()
            if peer in EVERYWHERE
        }
        rows[row] = {**local, **cells}
    return rows


def ratios(found: Table, network: str) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """The rivals, and for each row that has any the ratios to them."""
    rivals = [peer for peer in found.peers if peer != OURS and peer not in LIMITS]
    rows = [
        (str(row), [ratio(row, cells.get(OURS), cells.get(peer)) for peer in rivals])
        for row, cells in rows_of(found, network).items()
    ]
    return rivals, [(name, each) for name, each in rows if any(one is not None for one in each)]


def _costs(good: list[Measurement]) -> list[str]:
    def median(values: Iterable[float]) -> float:
        return statistics.median(values)

    size = median(each.bytes_ for each in good)
    operations = median(each.operations for each in good)
    cpu = median(each.cpu for each in good)
    sent = median(each.requests.get("bytes", 0) for each in good)
    measured = any(each.peak_pss for each in good)  # raw and local have no daemon
    return [
        number(1e3 * median(each.p50 for each in good)),
        number(1e3 * median(each.p99 for each in good)),
        number(cpu / (size / 2**30)) if size and measured else "–",
        number(1e3 * cpu / operations) if operations and measured else "–",
        number(max(each.peak_pss for each in good) / 2**20) if measured else "–",
        *(f"{median(each.requests.get(kind, 0) for each in good):,.0f}" for kind in ("get", "head", "list")),
        f"{sent / size:.2f}" if size and sent else "–",
    ]


def markdown(lines: list[list[str]]) -> str:
    head, *body = lines
    rule = ["---", "---", *("---:" for _ in head[2:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *body))


def plain(lines: list[list[str]]) -> str:
    """The same for a terminal, in columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = []
    for line in lines:
        texts.append("  ".join(_aligned(column, cell, widths[column]) for column, cell in enumerate(line)).rstrip())
    return "\n".join(texts)


def _aligned(column: int, cell: str, width: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)


def failures(found: Table) -> list[str]:
    """One line for each thing that failed."""
    return [
        f"{row} ({row.network}), {peer}: {error.splitlines()[0]}"
        for row, cells in found.rows.items()
        for peer, cell in cells.items()
        for error in dict.fromkeys(cell.errors)
    ]


def document(found: Table, pictures: dict[str, str]) -> str:
    """The whole report in Markdown; pictures: the chart of each network, as a path relative to the report."""
    parts = ["# Benchmark results", *(_description(each) for each in found.descriptions)]
    for network in found.networks:
        parts.append(f"## Network: {network}")
        if network in pictures:
            parts.append(f"![How many times faster ossmount is, network {network}]({pictures[network]})")
        parts.append("Medians (smallest–largest of the rounds). Ratios above 1× mean that ossmount is better.")
        parts.append(markdown(speed_table(found, network)))
        parts.append("What it cost. Bytes ×: bytes sent by the store for each byte read.")
        parts.append(markdown(cost_table(found, network)))
    failed = failures(found)
    if failed:
        parts.append("## Failed")
        parts.append("\n".join(f"- {line}" for line in failed))
    return "\n\n".join(parts) + "\n"


def _description(value: dict[str, Any]) -> str:
    machine = ", ".join(f"{name} {each}" for name, each in value["machine"].items() if each)
    settings = ", ".join(f"{name} {each}" for name, each in value["settings"].items())
    return f"{value['started']} — {machine}. {settings}."


def write(files: Sequence[Path], output: Path) -> list[Path]:
    """Writes the report and its charts beside it; returns what was written."""
    found = load(files)
    output.parent.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for network in found.networks:
        rivals, rows = ratios(found, network)
        if rows:
            picture = output.with_name(f"{output.stem}-{network.replace('/', '-')}.png")
            charts.draw(network, rivals, rows, picture, number)
            pictures[network] = picture.name
    output.write_text(document(found, pictures))
    return [output, *(output.with_name(name) for name in pictures.values())]
