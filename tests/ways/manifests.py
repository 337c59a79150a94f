"""Manifests of Kubernetes as podman runs them: what `kubectl kustomize` renders, field by field.

A field that is not translated here is an error, so that nothing in a manifest is passed over in silence. What has no meaning
without a cluster is named in _WITHOUT_MEANING.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.ways import containers
from tests.ways.containers import LIMITS, PODMAN, ROOT, UNASKED
from tests.ways.transcript import PATIENCE

#: Of a pod: what finds a node for it; podman's containers are deleted at once or told how long they have.
_WITHOUT_MEANING = {
    "serviceAccountName", "automountServiceAccountToken", "priorityClassName", "tolerations", "nodeSelector", "restartPolicy",
}  # fmt: skip
_OF_A_POD = {"initContainers", "containers", "volumes", "shareProcessNamespace", "terminationGracePeriodSeconds"}
#: Of a container: a port is only a name for it; probes and hooks are run by whoever runs the container.
_OF_A_CONTAINER = {
    "name", "image", "command", "env", "envFrom", "securityContext", "resources", "volumeMounts",
    "ports", "livenessProbe", "readinessProbe", "lifecycle",
}  # fmt: skip
_OF_A_CONTEXT = {
    "runAsUser", "runAsNonRoot", "privileged", "readOnlyRootFilesystem", "allowPrivilegeEscalation", "capabilities",
    "seccompProfile",
}  # fmt: skip
_PROPAGATION = {"Bidirectional": "rshared", "HostToContainer": "rslave", None: "rprivate"}
_UNITS = {"Mi": "m", "Gi": "g"}

Document = dict[str, Any]


def rendered(overlay: Path) -> list[Document]:
    """What `kubectl apply -k OVERLAY` would send."""
    kubectl = str(Path(sys.executable).parent / "kubectl")
    return list(yaml.safe_load_all(containers.run([kubectl, "kustomize", str(overlay)])))


def overlay(folder: Path, layer: str, images: Mapping[str, str], settings: Mapping[str, str], keys: tuple[str, str]) -> Path:
    """An overlay of one's own over a layer of kubernetes/, as README tells a user to make it; with the Secret of examples/."""
    folder.mkdir()
    secret = (ROOT / "kubernetes/examples/secret.yaml").read_text("utf-8")
    (folder / "secret.yaml").write_text(secret.replace("<id>", keys[0]).replace("<secret>", keys[1]))
    described = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "ossmount",
        "resources": [os.path.relpath(ROOT / "kubernetes" / layer, folder.resolve()), "secret.yaml"],
        "images": [{"name": name, "newName": image, "newTag": "latest"} for name, image in images.items()],
        "configMapGenerator": [
            {"name": "ossmount", "behavior": "merge", "literals": [f"{name}={value}" for name, value in settings.items()]}
        ],
        "generatorOptions": {"disableNameSuffixHash": True},
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(described))
    return folder


def find(documents: Iterable[Document], kind: str) -> Document:
    return next(each for each in documents if each["kind"] == kind)


class Translation:
    """A pod template on this machine: its node's folders lie below `node`, its variables come from these documents."""

    def __init__(self, spec: Document, documents: Iterable[Document], node: Path) -> None:
        _known(spec, _OF_A_POD | _WITHOUT_MEANING)
        self.spec = spec
        self._node = node
        self._volumes = {each["name"]: each for each in spec.get("volumes", ())}
        self._sources = {
            **{("configMapRef", each["metadata"]["name"]): each["data"] for each in documents if each["kind"] == "ConfigMap"},
            **{("secretRef", each["metadata"]["name"]): each["stringData"] for each in documents if each["kind"] == "Secret"},
        }

    def place(self, path: str) -> Path:
        """Where a path of the node lies."""
        return self._node / path.lstrip("/")

    def container(self, name: str) -> Document:
        """Of the containers, and of those that run before."""
        described: Document = next(
            each for each in (*self.spec.get("initContainers", ()), *self.spec["containers"]) if each["name"] == name
        )
        return described

    def make_folders(self) -> None:
        """As the kubelet does before it starts a container."""
        for volume in self._volumes.values():
            if volume.get("hostPath", {}).get("type") == "DirectoryOrCreate":
                self.place(volume["hostPath"]["path"]).mkdir(parents=True, exist_ok=True)

    def words(self, name: str, image: str, *options: str) -> list[str]:
        """What runs one of its containers; options are podman's."""
        container = self.container(name)
        _known(container, _OF_A_CONTAINER)
        words = [*PODMAN, "run", "--network", "host", UNASKED, *LIMITS, *options]
        words += self._context(container.get("securityContext", {}))
        words += self._resources(container.get("resources", {}))
        for each in container.get("volumeMounts", ()):
            words += self._volume(each)
        for variable, value in self.environment(container).items():
            words += ["-e", f"{variable}={value}"]
        return [*words, "--entrypoint", json.dumps(container["command"]), image]

    def environment(self, container: Document) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in container.get("envFrom", ()):
            ((kind, reference),) = each.items()
            found |= self._sources[kind, reference["name"]]
        return found | {each["name"]: each["value"] for each in container.get("env", ())}

    def _context(self, context: Document) -> list[str]:
        _known(context, _OF_A_CONTEXT)
        words = ["--user", str(context["runAsUser"])] if "runAsUser" in context else []
        if context.get("runAsNonRoot") and not context.get("runAsUser"):
            raise ValueError("runAsNonRoot without a user")
        words += ["--privileged"] if context.get("privileged") else []
        words += ["--read-only", "--read-only-tmpfs=false"] if context.get("readOnlyRootFilesystem") else []
        words += ["--security-opt", "no-new-privileges"] if context.get("allowPrivilegeEscalation") is False else []
        capabilities = context.get("capabilities", {})
        words += [f"--cap-drop={name}" for name in capabilities.get("drop", ())]
        words += [f"--cap-add={name}" for name in capabilities.get("add", ())]
        if context.get("seccompProfile", {"type": "RuntimeDefault"}) != {"type": "RuntimeDefault"}:  # podman's default too
            raise ValueError(f"seccompProfile: {context['seccompProfile']}")
        return words

    def _resources(self, resources: Document) -> list[str]:
        limits = {name: value for name, value in resources.get("limits", {}).items() if not name.startswith("nvidia.com/")}
        _known(limits, {"memory"})
        return ["--memory", limits["memory"][:-2] + _UNITS[limits["memory"][-2:]]] if limits else []

    def _volume(self, mounted: Document) -> list[str]:
        _known(mounted, {"name", "mountPath", "mountPropagation", "readOnly"})
        volume, place = self._volumes[mounted["name"]], mounted["mountPath"]
        _known(volume, {"name", "hostPath", "emptyDir"})
        if volume.get("emptyDir", {}).get("medium") == "Memory":
            size = volume["emptyDir"]["sizeLimit"]
            return ["--tmpfs", f"{place}:size={size[:-2] + _UNITS[size[-2:]]}"]  # runc gives it the mode of the folder below
        if "emptyDir" in volume:
            source = self.place(f"/var/lib/kubelet/{mounted['name']}")
            source.mkdir(parents=True, exist_ok=True)
            source.chmod(0o777)
            return ["-v", f"{source}:{place}"]
        source = self.place(volume["hostPath"]["path"])
        if not source.is_dir():
            raise ValueError(f"{volume['hostPath']['path']}: the kubelet would not find it on the node")
        options = [_PROPAGATION[mounted.get("mountPropagation")], *(["ro"] if mounted.get("readOnly") else [])]
        return ["-v", f"{source}:{place}:{','.join(options)}"]


def _known(found: Mapping[str, Any], known: set[str]) -> None:
    if unknown := set(found) - known:
        raise ValueError(f"not translated: {', '.join(sorted(unknown))}")


def asked(container: str, words: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Something that is run in a container, such as a probe."""
    command = [*PODMAN, "exec", container, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
