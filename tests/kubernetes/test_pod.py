"""The pod of the DaemonSet, run by podman as the manifest says: users, volumes, propagation, and one pid namespace."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ossmount.channel.mounting import find_mount
from ossmount.emulator.server import EmulatedServer
from tests.images import containers
from tests.images.containers import BASE, IMAGE, ROOT
from tests.mount.support import eventually

pytestmark = [pytest.mark.stress, pytest.mark.timeout(2400)]
PODMAN = ["podman", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]
LIMITS = ["--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:2048"]
FILES = 200


class Pod:
    """The rendered DaemonSet's containers; a pause container holds the pid namespace, as the kubelet's does."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        words = [str(Path(sys.executable).parent / "kubectl"), "kustomize", str(ROOT / "kubernetes/base")]
        documents = list(yaml.safe_load_all(containers.run(words)))
        self.spec: dict[str, Any] = next(each for each in documents if each["kind"] == "DaemonSet")["spec"]["template"]["spec"]
        self.folder = folder
        self.environ = environ
        self.name = f"ossmount-{uuid.uuid4().hex[:8]}"
        # The node's folders, at places of this test; the mounts are propagated back to this machine.
        self.places = {each["name"]: folder / each["name"] for each in self.spec["volumes"] if "hostPath" in each}
        for place in self.places.values():
            place.mkdir()
        subprocess.run(["mount", "--bind", str(self.places["mounts"]), str(self.places["mounts"])], check=True)
        subprocess.run(["mount", "--make-shared", str(self.places["mounts"])], check=True)

    def start(self) -> None:
        containers.run(
            [*PODMAN, "run", "-d", "--name", f"{self.name}-pause", *LIMITS, "--entrypoint", "sleep", IMAGE, "infinity"]
        )
        for container in self.spec["initContainers"]:
            containers.run([*PODMAN, "run", "--rm", *self.words(container)])
        for container in self.spec["containers"]:
            self.start_container(container["name"])

    def start_container(self, name: str) -> None:
        container = next(each for each in self.spec["containers"] if each["name"] == name)
        containers.run([*PODMAN, "run", "-d", "--name", f"{self.name}-{name}", *self.words(container)])

    def words(self, container: dict[str, Any]) -> list[str]:
        context = container["securityContext"]
        words = ["--network", "host", "--pid", f"container:{self.name}-pause", *LIMITS, "--user", str(context["runAsUser"])]
        words += (
            ["--privileged"]
            if context.get("privileged")
            else [f"--cap-drop={name}" for name in context["capabilities"]["drop"]]
        )
        words += [f"--cap-add={name}" for name in context.get("capabilities", {}).get("add", ())]
        words += ["--security-opt", "no-new-privileges"] if context.get("allowPrivilegeEscalation") is False else []
        words += ["--read-only"] if context.get("readOnlyRootFilesystem") else []
        for each in container["volumeMounts"]:
            if each["name"] in self.places:
                how = {"Bidirectional": ":rshared", "HostToContainer": ":rslave"}.get(each.get("mountPropagation", ""), "")
                how += ",ro" if each.get("readOnly") else ""
                words += ["-v", f"{self.places[each['name']]}:{each['mountPath']}{how}"]
            else:
                words += ["--tmpfs", each["mountPath"]]
        keys = any("secretRef" in each for each in container.get("envFrom", ()))
        for name, value in self.environ.items():
            if keys or not name.startswith("OSS_ACCESS"):
                words += ["-e", f"{name}={value}"]
        return [*words, "--entrypoint", json.dumps(container["command"]), IMAGE]

    def ask(self, container: str, *words: str) -> int:
        done = subprocess.run([*PODMAN, "exec", f"{self.name}-{container}", *words], capture_output=True, check=False)
        return done.returncode

    def probe(self, container: str, kind: str) -> int:
        described = next(each for each in self.spec["containers"] if each["name"] == container)
        return self.ask(container, *described[kind]["exec"]["command"])

    def logs(self) -> str:
        found = []
        for name in ("keeper", "daemon"):
            done = subprocess.run(["podman", "logs", f"{self.name}-{name}"], capture_output=True, text=True, check=False)
            found.append(f"--- {name}\n{done.stdout}{done.stderr}")
        return "\n".join(found)

    def clear(self) -> None:
        for name in ("keeper", "daemon", "pause"):
            words = [*PODMAN, "rm", "-f", "-t", "0", f"{self.name}-{name}"]
            subprocess.run(words, capture_output=True, check=False)
        mounts = self.places["mounts"]
        while find_mount(str(mounts / "train")) is not None:
            subprocess.run(["umount", "--lazy", str(mounts / "train")], check=True)
        subprocess.run(["umount", "--lazy", str(mounts)], check=True)


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    containers.install_tools()
    containers.make_base(tmp_path)
    containers.build(ROOT / "Dockerfile", ROOT, IMAGE, "--build-arg", f"PYTHON={BASE}")
    (tmp_path / "bucket").mkdir()
    with EmulatedServer(tmp_path / "bucket") as server:
        for number in range(FILES):
            server.store.put("data", b"train/%03d" % number, b"%03d" % number * 3000)
        made = Pod(
            tmp_path,
            {
                "OSS_ACCESS_KEY_ID": "test-id",
                "OSS_ACCESS_KEY_SECRET": "test-secret",
                "OSSMOUNT_ENDPOINT": server.url,
                "OSSMOUNT_MOUNTS": "oss://data/train=/var/lib/ossmount/train",
                "OSSMOUNT_MEMORY_LIMIT": "64M",
            },
        )
        try:
            made.start()
            yield made
        finally:
            print(made.logs())
            made.clear()


READER = """
import os, sys
folder, stop = sys.argv[1:]
while not os.path.exists(stop):
    for name in sorted(os.listdir(folder)):
        with open(f"{folder}/{name}", "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == name.encode() * 3000, name
    print("pass", flush=True)
"""


def eventually_quietly(condition: Callable[[], object], what: str) -> None:
    """Not a hundred times a second: each look is a process in a container."""

    def slowly() -> object:
        time.sleep(0.3)
        return condition()

    eventually(slowly, what)


def test_the_daemon_s_container_is_killed_under_a_reading_job(pod: Pod) -> None:
    folder = pod.places["mounts"] / "train"
    eventually_quietly(lambda: pod.probe("daemon", "readinessProbe") == 0, "the pod is ready")
    assert pod.probe("keeper", "livenessProbe") == 0 and pod.probe("daemon", "livenessProbe") == 0
    before = find_mount(str(folder))
    assert before is not None, "propagated to the node"
    stop = pod.folder / "stop"
    with subprocess.Popen([sys.executable, "-c", READER, str(folder), str(stop)], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "pass\n"
        containers.run([*PODMAN, "kill", f"{pod.name}-daemon"])
        containers.run([*PODMAN, "rm", "-f", f"{pod.name}-daemon"])
        pod.start_container("daemon")
        eventually_quietly(lambda: pod.probe("daemon", "readinessProbe") == 0, "the next daemon serves")
        for _ in range(3):
            assert reader.stdout.readline() == "pass\n"
        stop.touch()
        reader.communicate(timeout=60)
        assert reader.returncode == 0, "no error, no wrong byte"
    assert find_mount(str(folder)) == before

    containers.run([*PODMAN, "stop", "-t", "40", f"{pod.name}-keeper"])
    assert find_mount(str(folder)) is None, "taken away on the node as well"
