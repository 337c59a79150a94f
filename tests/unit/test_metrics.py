"""The table of metrics, what is exported of a recorded status, and the dashboard."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ossmount.daemon.exporter import StatusCollector, cumulated
from ossmount.durations import Durations
from ossmount.metrics import COUNTER, HISTOGRAM, METRICS, PREFIX, UP
from tests.unit.recorded import recorded

DASHBOARD = Path(__file__).parents[2] / "grafana" / "ossmount.json"
KNOWN_EMPTY = {"kernel_errors_total", "credentials_left_seconds"}  # nothing of the kind happened in the recorded mount


def exported(status: dict[str, Any] | None) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels) to value, as Prometheus parses what is exported."""
    registry = CollectorRegistry()
    registry.register(StatusCollector("/mnt/x", lambda: status))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_names_are_as_prometheus_wants_them() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == COUNTER), metric.name
        assert metric.meaning.endswith("."), metric.name
        if metric.kind == HISTOGRAM:
            assert metric.name.endswith("_seconds")


def test_every_metric_has_a_value_in_a_real_status() -> None:
    """A path that no component has any more would be a metric that is always empty."""
    status = recorded()
    empty = {metric.name for metric in METRICS if not list(metric.read(status))}
    assert empty == KNOWN_EMPTY
    some = recorded(facts__channel__errors={"EIO": 2}, facts__credentials__expires_in=60.0)
    assert all(list(metric.read(some)) for metric in METRICS if metric.name in KNOWN_EMPTY)


def test_labels_are_as_many_as_declared() -> None:
    for metric in METRICS:
        for sample in metric.read(recorded()):
            assert len(sample.labels) == len(metric.labels), metric.name


def test_what_is_exported_is_what_the_status_says() -> None:
    values = exported(recorded())
    mount = ("mountpoint", "/mnt/x")
    assert values[PREFIX + UP.name, (mount,)] == 1
    assert values["ossmount_oss_requests_total", (("kind", "get"), mount)] == 253
    assert values["ossmount_kernel_requests_total", (mount, ("operation", "READ"))] == 259
    assert ("ossmount_oss_requests_total", (("kind", "kernel"), mount)) not in values
    reads = recorded()["facts"]["channel"]["durations"]["READ"]
    name = "ossmount_kernel_request_duration_seconds"
    assert values[name + "_count", (mount, ("operation", "READ"))] == reads["count"] == 259
    assert values[name + "_sum", (mount, ("operation", "READ"))] == reads["seconds"]
    assert values[name + "_bucket", (("le", "+Inf"), mount, ("operation", "READ"))] == 259
    below = sum(reads["buckets"][:11])
    assert values[name + "_bucket", (("le", "0.001024"), mount, ("operation", "READ"))] == below


def test_of_a_daemon_that_does_not_answer_only_that_is_exported() -> None:
    assert exported(None) == {("ossmount_up", (("mountpoint", "/mnt/x"),)): 0}


def test_names_that_are_no_text_do_not_break_the_page() -> None:
    odd = recorded(facts__disk__directories={'/cache/\udcff\n"x': {"used": 7}}, source="oss://b/\udc80")
    values = exported(odd)
    used = [labels for (name, labels), value in values.items() if name == "ossmount_disk_used_bytes" and value == 7]
    assert dict(used[0])["directory"] == '/cache/\\udcff\n"x'


def test_a_histogram_is_cumulated() -> None:
    durations = Durations()
    for seconds in (1e-6, 0.001, 0.001, 500.0):
        durations.add(seconds)
    shown = dict(cumulated(durations.facts()["buckets"]))
    assert shown["6.4e-05"] == 1
    assert shown["0.001024"] == 3
    assert shown["134.217728"] == 3
    assert shown["+Inf"] == 4
    assert list(dict(cumulated([])).values()) == [0.0] * 23


def test_the_dashboard_asks_for_metrics_that_there_are_with_labels_that_they_have() -> None:
    known: dict[str, set[str]] = {PREFIX + UP.name: {"mountpoint"}}
    for metric in METRICS:
        labels = {"mountpoint", *metric.labels}
        if metric.kind == HISTOGRAM:
            known |= {f"{PREFIX}{metric.name}_{end}": labels | {"le"} for end in ("bucket", "sum", "count")}
        else:
            known[PREFIX + metric.name] = labels
    dashboard = json.loads(DASHBOARD.read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(targets) > 30
    variables = [variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    asked = set()
    for query in [*variables, *(target["expr"] for target in targets)]:
        names = re.findall(r"ossmount_\w+", query)
        assert names and set(names) <= known.keys(), query
        asked |= set(names)
        for name, selector in re.findall(r"(ossmount_\w+)\{([^}]*)\}", query):
            assert {part.partition("=")[0].strip("~! ") for part in selector.split(",")} <= known[name], query
        for group in re.findall(r"by \(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= set.union(*(known[name] for name in names)), query
    for target in targets:
        labels = set.union(*(known[name] for name in re.findall(r"ossmount_\w+", target["expr"])))
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, target
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert PREFIX + UP.name in asked
