"""The third way of use: the DaemonSet's pod and the Jobs of kubernetes/, run by podman as the rendered manifests say.

`python -m tests.ways.pod`, as root. Users, capabilities, mounts, propagation, variables, limits, probes and hooks are those of
`kubectl kustomize`; this machine stands for the node, whose folders lie below a scratch one, and this program for the kubelet.
A Job trains all the while.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from ossmount.channel.mounting import find_mount
from ossmount.emulator.faults import Fault
from ossmount.emulator.server import EmulatedServer
from tests.ways import containers
from tests.ways.containers import BASE, IMAGE, LIMITS, PODMAN, ROOT, UNASKED
from tests.ways.manifests import Translation, asked, find, overlay, rendered
from tests.ways.transcript import PATIENCE, Transcript, main

LAYER = "overlays/gpu-nvme"
FILES = 200
NEXT = f"{IMAGE}-next"
JOB = f"{IMAGE}-job"
BUSYBOX = BASE  # has `mountpoint` and `sh` too
_DRAIN = 60  # seconds that podman gives a container; the manifest's own limit is checked against it
#: What a pod's own first process does: it stays, and reaps.
_PAUSE = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.pause()"


class Pod:
    """Containers of one pod template, as a kubelet treats them."""

    def __init__(self, transcript: Transcript, translation: Translation, image: str) -> None:
        self._transcript = transcript
        self.translation = translation
        self.image = image
        self.name = f"ossmount-{uuid.uuid4().hex[:8]}"
        self._names = [each["name"] for each in translation.spec["containers"]]

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, *failure: object) -> None:
        for name in (*self._names, *self._first(), "pause"):
            if failure[0] is not None and name != "pause":
                done = subprocess.run(["podman", "logs", self.of(name)], capture_output=True, text=True, check=False)
                print(f"--- {name} has logged:\n{done.stdout}{done.stderr}", file=sys.stderr)
            subprocess.run([*PODMAN, "rm", "-f", "-t", "0", self.of(name)], capture_output=True, check=False)

    def of(self, name: str) -> str:
        """What podman calls the container."""
        return f"{self.name}-{name}"

    def _first(self) -> list[str]:
        return [each["name"] for each in self.translation.spec.get("initContainers", ())]

    def start(self) -> None:
        self.translation.make_folders()
        python = ["--entrypoint", "python3", self.image, "-c", _PAUSE]
        containers.run([*PODMAN, "run", "-d", "--name", self.of("pause"), UNASKED, *LIMITS, *python])
        for name in self._first():
            self.start_container(name, "--rm")
        for name in self._names:
            self.start_container(name, "-d")

    def start_container(self, name: str, how: str = "-d", image: str = "") -> None:
        options = [how, "--name", self.of(name)]
        if self.translation.spec.get("shareProcessNamespace"):
            options += ["--pid", f"container:{self.of('pause')}"]
        words = self.translation.words(name, image or self.image, *options)
        shown = [word for word in words if not re.match(r"OSS_ACCESS_KEY_SECRET=", word)]
        self._transcript.command("$", " ".join(shown))
        containers.run(words)

    def probe(self, name: str, kind: str) -> bool:
        return asked(self.of(name), self.translation.container(name)[kind]["exec"]["command"]).returncode == 0

    def lives(self) -> bool:
        return all(self.probe(name, "livenessProbe") for name in self._names)

    def is_ready(self) -> bool:
        return self.probe("daemon", "readinessProbe")

    def kill_container(self, name: str) -> None:
        self._transcript.command("$", f"podman kill {self.of(name)}")
        containers.run([*PODMAN, "kill", self.of(name)])
        containers.run([*PODMAN, "rm", "-f", self.of(name)])

    def stop_container(self, name: str) -> None:
        """First its preStop hook, then SIGTERM."""
        hook = self.translation.container(name).get("lifecycle", {}).get("preStop")
        if hook is not None:
            asked(self.of(name), hook["exec"]["command"])
        containers.run([*PODMAN, "stop", "-t", str(_DRAIN), self.of(name)])
        containers.run([*PODMAN, "rm", "-f", self.of(name)])

    def replace_image(self, name: str, image: str) -> None:
        """What follows `kubectl set image pod/POD NAME=IMAGE`."""
        self._transcript.command("$", f"kubectl set image pod/{self.name} {name}={image}")
        self.stop_container(name)
        self.start_container(name, image=image)

    def delete(self) -> list[threading.Thread]:
        """All containers are told at the same time, as `kubectl delete pod` does; the threads that wait for their ends."""
        self._transcript.command("$", f"kubectl delete pod {self.name}")
        threads = [threading.Thread(target=self.stop_container, args=[name]) for name in self._names]
        for thread in threads:
            thread.start()
        return threads


class Job:
    """The training Job of examples/, in an image of its own."""

    def __init__(self, transcript: Transcript, node: Path) -> None:
        described = yaml.safe_load((ROOT / "kubernetes/examples/training-job.yaml").read_text("utf-8"))
        self._translation = Translation(described["spec"]["template"]["spec"], [], node)
        self._transcript = transcript
        self._process: subprocess.Popen[str] | None = None
        self._said: list[str] = []  # its lines
        self.name = f"ossmount-{uuid.uuid4().hex[:8]}-training"

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([*PODMAN, "rm", "-f", "-t", "0", self.name], capture_output=True, check=False)
        if self._process is not None:
            self._process.wait()
            self._listener.join()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def wait_for_data(self) -> subprocess.Popen[str]:
        """The init container, which ends once the mount is there."""
        words = self._translation.words("wait-for-data", BUSYBOX, "--rm")
        self._transcript.command("$", " ".join(words))
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def start(self) -> str:
        """What it says first."""
        words = self._translation.words("training", JOB, "--rm", "--name", self.name, "-e", "EPOCHS=1000000")
        self._transcript.command("$", " ".join(words))
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._listener = threading.Thread(target=self._listen, args=[self._process.stdout])
        self._listener.start()
        self._transcript.eventually(lambda: self._said, "the training begins")
        return self._said[0]

    def _listen(self, output: Iterable[str]) -> None:
        self._said.extend(line.strip() for line in output)

    def reads_on(self) -> None:
        """Two epochs more from now on: one is under way. Raises Failed."""
        number = len(self._said)
        self._transcript.eventually(lambda: len(self._said) >= number + 2, "the training goes on", PATIENCE)
        self._transcript.said(f"    {self._said[-1]}")
        self._transcript.holds(self._said[-1].startswith("epoch "), "with the same bytes in each epoch, and no error")

    def end(self) -> int:
        """Its exit code: not 0 also when two epochs differed."""
        assert self._process is not None
        subprocess.run([*PODMAN, "kill", "--signal", "TERM", self.name], check=False, capture_output=True)
        self._listener.join(PATIENCE)
        return self._process.wait(PATIENCE)


def build_images(transcript: Transcript, folder: Path) -> None:
    transcript.step("Images: that of the Dockerfile, a newer one, and that of a training job")
    containers.build_image(folder)
    version = "$(find /opt/ossmount/lib -path '*/ossmount/__init__.py')"
    newer = f"FROM {IMAGE}\nUSER root\nRUN sed -i 's/^__version__ = .*/__version__ = \"99\"/' {version}\nUSER ossmount\n"
    job = f"FROM {BASE}\nRUN ln -s python3 /usr/bin/python\nWORKDIR /job\nCOPY train.py hints.py /job/\n"
    for name, text, files in ((NEXT, newer, ()), (JOB, job, ("tests/ways/train.py", "ossmount/hints.py"))):
        context = folder / name.rpartition("/")[2]
        context.mkdir()
        (context / "Dockerfile").write_text(text)
        for file in files:
            (context / os.path.basename(file)).write_bytes((ROOT / file).read_bytes())
        containers.build(context / "Dockerfile", context, name)


@contextlib.contextmanager
def node(folder: Path) -> Iterator[Path]:
    """The node's root folder. /var/lib/ossmount is shared, as systemd makes everything; mounts are gone at the end."""
    mounts = folder / "var/lib/ossmount"
    mounts.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(mounts), str(mounts)], check=True)
    subprocess.run(["mount", "--make-shared", str(mounts)], check=True)
    try:
        yield folder
    finally:
        while find_mount(str(mounts / "imagenet")) is not None:
            subprocess.run(["umount", "--lazy", str(mounts / "imagenet")], check=True)
        subprocess.run(["umount", "--lazy", str(mounts)], check=True)


def way(transcript: Transcript) -> None:
    """Raises Failed."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ossmount-way-")))
        build_images(transcript, folder)
        (folder / "bucket").mkdir()
        server = stack.enter_context(EmulatedServer(folder / "bucket"))
        for number in range(FILES):
            server.store.put("my-bucket", b"imagenet/%02d/%03d.jpg" % (number % 5, number), b"%03d" % number * 5000)
        port = free_port()
        settings = {
            "OSSMOUNT_ENDPOINT": server.url,
            "OSSMOUNT_MEMORY_LIMIT": "64M",
            "OSSMOUNT_METRICS": f"127.0.0.1:{port}",
            "OSSMOUNT_METADATA_SNAPSHOT": "oss://my-bucket/.ossmount/imagenet.snapshot",
        }
        keys = (server.access_key_id, server.access_key_secret)
        transcript.step(f"The manifests: an overlay over kubernetes/{LAYER} that names image, buckets' endpoint and keys")
        documents = rendered(overlay(folder / "overlay", LAYER, {"ossmount": IMAGE}, settings, keys))
        transcript.said(", ".join(f"{each['kind']} {each['metadata']['name']}" for each in documents))
        root = stack.enter_context(node(folder / "node"))
        spec = find(documents, "DaemonSet")["spec"]["template"]["spec"]
        transcript.holds(spec["terminationGracePeriodSeconds"] <= _DRAIN, "podman waits as long as the kubelet would")
        make_snapshot(transcript, documents, root, server)
        translation = Translation(spec, documents, root)
        pod = stack.enter_context(Pod(transcript, translation, IMAGE))
        job = stack.enter_context(Job(transcript, root))
        begin(transcript, pod, job, server, port)
        disturb(transcript, pod, job, server)
        end(transcript, pod, job)
        transcript.step("The next pod of the node")
        with Pod(transcript, translation, NEXT) as following:
            following.start()
            transcript.eventually(following.is_ready, "it is ready")
            transcript.holds(len(list(mountpoint(following).rglob("*.jpg"))) == FILES, "and mounts for the node")


def make_snapshot(transcript: Transcript, documents: list[dict[str, object]], root: Path, server: EmulatedServer) -> None:
    transcript.step("A Job lists the bucket once for all nodes (kubernetes/examples/snapshot-job.yaml)")
    described = yaml.safe_load((ROOT / "kubernetes/examples/snapshot-job.yaml").read_text("utf-8"))
    words = Translation(described["spec"]["template"]["spec"], documents, root).words("export", IMAGE, "--rm")
    transcript.said(containers.run(words))
    transcript.holds(server.store.find("my-bucket", b".ossmount/imagenet.snapshot"), "its file lies in the bucket")
    server.requests.clear()


def mountpoint(pod: Pod) -> Path:
    return pod.translation.place("/var/lib/ossmount/imagenet")


def begin(transcript: Transcript, pod: Pod, job: Job, server: EmulatedServer, port: int) -> None:
    transcript.step("A training Job comes first, and waits; then the pod of the DaemonSet")
    with job.wait_for_data() as waiting:
        assert waiting.stdout is not None
        transcript.said(waiting.stdout.readline())
        pod.start()
        transcript.eventually(pod.is_ready, "the pod is ready")
        waiting.communicate(timeout=PATIENCE)
        transcript.holds(waiting.returncode == 0, "the Job's init container has seen the mount come")
    transcript.holds(pod.lives(), "keeper and daemon say that they live")
    transcript.holds(find_mount(str(mountpoint(pod))), "mounted on the node")
    users = asked(pod.of("daemon"), ["sh", "-c", "awk '/^Uid/ {print $2}' /proc/[0-9]*/status"]).stdout.split()
    transcript.holds(users.count("0") == 1 and set(users) == {"0", "10001"}, "one process is root's: the one that mounts")
    listed = [request for request in server.requests if "list-type" in request.query]
    transcript.holds(len(listed) <= 1, f"names came from the snapshot: {len(listed)} LIST")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        transcript.holds(b"ossmount_up{" in answer.read(), "Prometheus finds numbers")
    said = job.start()
    transcript.holds(said == f"{FILES} files, uid 0, told", "the Job reads, and tells the daemon its order")
    job.reads_on()


def disturb(transcript: Transcript, pod: Pod, job: Job, server: EmulatedServer) -> None:
    mounted = find_mount(str(mountpoint(pod)))
    transcript.step("The daemon's container is killed, as for memory, and started again")
    pod.kill_container("daemon")
    transcript.holds(pod.probe("keeper", "livenessProbe"), "the keeper lives meanwhile: it is not restarted")
    pod.start_container("daemon")
    transcript.eventually(pod.is_ready, "the pod is ready")
    job.reads_on()

    transcript.step("OSS does not answer for a while")
    outage = server.faults.add(Fault(status=503, code="ServiceUnavailable"))
    server.drop_connections()
    transcript.eventually(lambda: not pod.is_ready(), "the pod is not ready")
    transcript.holds(pod.lives(), "but it lives: nothing is restarted")
    server.faults.remove(outage)
    transcript.eventually(pod.is_ready, "the pod is ready")
    job.reads_on()

    transcript.step("The daemon's container gets another image")
    pod.replace_image("daemon", NEXT)
    transcript.eventually(pod.is_ready, "the pod is ready")
    said = asked(pod.of("daemon"), ["ossmount", "--version"]).stdout
    transcript.holds("99" in said, f"with the new version: {said.strip()}")
    job.reads_on()
    transcript.holds(find_mount(str(mountpoint(pod))) == mounted, "one and the same mount all the while")


def end(transcript: Transcript, pod: Pod, job: Job) -> None:
    transcript.step("The node is drained: the Job ends, then the pod is deleted, while one reader still has a file open")
    transcript.holds(job.end() == 0, "the Job has ended by itself")
    with (mountpoint(pod) / "01/001.jpg").open("rb", buffering=0) as file:
        threads = pod.delete()
        transcript.eventually(lambda: find_mount(str(mountpoint(pod))) is None, "nobody finds the mount any more")
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        transcript.holds(file.readall() == b"001" * 5000, "the reader reads to its end")
    for thread in threads:
        thread.join()
    left = containers.run(["podman", "ps", "-a", "-q", "--filter", f"name={pod.of('(keeper|daemon)')}"])
    transcript.holds(left.strip() == "", "both containers have ended in order")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main(way))
