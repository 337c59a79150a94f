"""All scenarios, by name, in the order in which reports show them."""

from __future__ import annotations

from benchmarks.scenarios import epochs, loaders, startup, streams, tree
from benchmarks.scenarios.base import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for module in (startup, tree, epochs, streams, loaders) for scenario in module.SCENARIOS
}
