"""The manifests are what Kubernetes takes, and mean what the rest of the project means."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ossmount.node.run import VARIABLES
from ossmount.options.declarations import OPTIONS

ROOT = Path(__file__).parents[2] / "kubernetes"
LAYERS = ["base", "overlays/gpu-nvme", "overlays/rrsa"]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.yaml"))
BIN = Path(sys.executable).parent
LIMIT = 60.0  # seconds, against hanging only


@functools.cache
def rendered(layer: str) -> str:
    words = [str(BIN / "kubectl"), "kustomize", str(ROOT / layer)]
    return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=True).stdout


def valid(path: Path) -> None:
    words = [str(BIN / "kubernetes-validate"), "--strict", "--quiet", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def daemon_set(layer: str) -> dict[str, Any]:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(rendered(layer)))
    return next(each for each in documents if each["kind"] == "DaemonSet")["spec"]["template"]["spec"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("layer", LAYERS)
def test_what_kustomize_makes_is_valid(layer: str, tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered(layer))
    valid(path)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_valid(name: str) -> None:
    valid(ROOT / "examples" / name)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_configuration_names_options_that_there_are(layer: str) -> None:
    known = {option.variable for option in OPTIONS} | {*VARIABLES}
    for document in yaml.safe_load_all(rendered(layer)):
        if document["kind"] == "ConfigMap":
            assert set(document["data"]) <= known


@pytest.mark.parametrize("layer", LAYERS)
def test_privilege_and_keys_are_not_in_one_container(layer: str) -> None:
    containers = {each["name"]: each for each in daemon_set(layer)["containers"]}
    keeper, daemon = containers["keeper"], containers["daemon"]
    assert keeper["securityContext"]["privileged"] is True
    assert [list(each) for each in keeper["envFrom"]] == [["configMapRef"]] and "env" not in keeper
    context = daemon["securityContext"]
    assert context["runAsNonRoot"] and context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]} and "privileged" not in context


@pytest.mark.parametrize("layer", LAYERS)
def test_volumes_and_limits(layer: str) -> None:
    spec = daemon_set(layer)
    volumes = {each["name"] for each in spec["volumes"]}
    for container in (*spec["initContainers"], *spec["containers"]):
        assert {each["name"] for each in container["volumeMounts"]} <= volumes
        assert "memory" in container["resources"]["limits"]
    drain = 20 + 10  # OSSMOUNT_NODE_DRAIN's default, and what ossmount-node adds to it
    assert spec["terminationGracePeriodSeconds"] > drain and spec["shareProcessNamespace"] is True
