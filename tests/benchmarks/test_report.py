"""Reports from known measurements."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.rounds import Measurement


def one(
    peer: str, value: float, round_: int = 0, *, scenario: str = "epoch", network: str = "none", error: str = ""
) -> Measurement:
    lower = scenario == "ttfb"
    requests = {"get": 40, "head": 1, "list": 2, "other": 0, "bytes": 3 << 30}
    unit, memory = "ms" if lower else "files/s", 0 if peer in ("raw", "local") else 100 << 20
    measured = Measurement(scenario, "cold", peer, network, round_, unit, not lower, value, error=error)
    measured = replace(measured, operations=1_000, bytes_=2 << 30, seconds=1.0, p50=0.001, p99=0.02)
    return replace(measured, cpu=4.0, peak_pss=memory, requests=requests)


MEASURED = [
    *(one("rclone", value, round_) for round_, value in enumerate((90.0, 100.0, 140.0))),
    *(one("ossmount", value, round_) for round_, value in enumerate((290.0, 300.0, 310.0))),
    one("raw", 1_500.0),
    one("local", 9_000.0),
    one("ossmount", 2.0, scenario="ttfb"),
    one("rclone", 8.0, scenario="ttfb"),
    one("ossmount", 200.0, network="region"),
    one("rclone", 0.0, network="region", error="TimedOut: too late\nsecond line"),
]


def result_file(folder: Path) -> Path:
    path = folder / "results.json"
    described = {"machine": {"cores": "2", "commit": ""}, "settings": {"rounds": 3}, "started": "2024-01-01 00:00 UTC"}
    path.write_text(json.dumps({**described, "measurements": [asdict(each) for each in MEASURED]}))
    return path


def test_medians_spread_and_ratios(tmp_path: Path) -> None:
    found = report.load([result_file(tmp_path)])
    head, ttfb, epoch = report.speed_table(found, "none")
    assert head == [
        *("scenario", "unit", "ossmount", "rclone", "raw", "local"),
        *("ossmount ÷ rclone", "ossmount ÷ raw", "ossmount ÷ local"),
    ]
    assert epoch == ["epoch cold", "files/s", "300 (290–310)", "100 (90.0–140)", "1,500", "9,000", "3.00×", "0.20×", "0.0333×"]
    assert ttfb[2:] == ["2.00", "8.00", "–", "–", "4.00×", "–", "–"]  # fewer milliseconds are better


def test_costs_are_per_byte_and_per_operation(tmp_path: Path) -> None:
    found = report.load([result_file(tmp_path)])
    rows = {(row[0], row[1]): row[2:] for row in report.cost_table(found, "none")}
    assert rows["epoch cold", "rclone"] == ["1.00", "20.0", "2.00", "4.00", "100", "40", "1", "2", "1.50"]
    assert rows["epoch cold", "raw"][2:5] == ["–", "–", "–"]  # no daemon


def test_what_was_measured_once_stands_beside_every_network(tmp_path: Path) -> None:
    _, row = report.speed_table(report.load([result_file(tmp_path)]), "region")
    assert row == ["epoch cold", "files/s", "200", "failed", "–", "9,000", "–", "–", "0.0222×"]


def test_the_document_names_machine_networks_and_failures(tmp_path: Path) -> None:
    output = tmp_path / "report.md"
    written = report.write([result_file(tmp_path)], output)
    text = output.read_text()
    assert written == [output, tmp_path / "report-none.png"]  # nothing to compare in the other network
    assert "2024-01-01 00:00 UTC — cores 2. rounds 3." in text
    assert "## Network: none" in text and "## Network: region" in text
    assert "](report-none.png)" in text
    assert "- epoch cold (region), rclone: TimedOut: too late\n" in text
    assert "| epoch cold | files/s | 300 (290–310) |" in text
    assert written[1].read_bytes().startswith(b"\x89PNG")


def test_the_terminal_table_is_aligned(tmp_path: Path) -> None:
    lines = report.plain(report.speed_table(report.load([result_file(tmp_path)]), "none")).splitlines()
    assert lines[2].startswith("epoch cold  files/s  300 (290–310)")


@pytest.mark.parametrize("text", ["", "[]", '{"measurements": []}', '{"measurements": [{"peer": 1}]}'])
def test_other_files_are_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is no result"):
        report.load([path])


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.00123, "0.0012"), (9.994, "9.99"), (55.55, "55.5"), (1234567.0, "1,234,567")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert report.number(value) == text
