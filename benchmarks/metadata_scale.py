"""How far the metadata store goes: `python -m benchmarks.metadata_scale --keys 1000000`.

Four things in a row, each in fresh processes: `ossmount metadata build` of a synthetic bucket, a mount over that store, stats
of names in random order, and a walk over all of them; with --kills the daemon is killed then, with all these inodes in the
kernel's cache, and answers again. For each: what came of it, CPU time, memory at its highest (PSS summed
over the processes) and LISTs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import crew, network, store
from benchmarks.access import Place
from benchmarks.listing import synthetic
from benchmarks.measure import Cost, meter, percentile
from benchmarks.network import Network
from benchmarks.own import OwnPeer
from benchmarks.peers import Mounted, Target, environment
from benchmarks.processes import CHECKOUT, end, interrupts, own_environment, wait_until
from benchmarks.worker import Record, Task

FOLDER = "data"  # in which every synthetic key lies
LIMIT = 3_600.0  # seconds for each step


class Step(NamedTuple):
    """One line of the report."""

    name: str
    seconds: float
    cpu: float  # seconds of the processes measured
    peak: int  # bytes
    lists: int
    result: str


class Scale:
    """One synthetic bucket on one network."""

    def __init__(self, serving: store.LocalStore, net: Network, bucket: str, scratch: Path) -> None:
        self._serving = serving
        self._bucket = bucket
        self._scratch = scratch
        mountpoint = scratch / "mount"
        mountpoint.mkdir()
        self.target = Target(bucket, serving.url(net), mountpoint, scratch, scratch)
        index = synthetic(bucket)
        if index is None:
            raise ValueError(f"{bucket} is no synthetic bucket")
        self.index = index

    def build(self) -> Step:
        """`ossmount metadata build` into the store that mounted() will find."""
        options = ("--endpoint", self.target.url, "--metadata-dir", str(self._scratch / "metadata"))
        command = [sys.executable, "-m", "ossmount", "metadata", "build", f"oss://{self._bucket}", *options]
        variables = environment(self.target, own_environment())
        mark = self._serving.mark()
        began = time.monotonic()
        with open(self._scratch / "build.log", "wb") as log:
            process = subprocess.Popen(command, env=variables, cwd=CHECKOUT, stdout=log, stderr=log, start_new_session=True)
            try:
                with meter(lambda: [process.pid], self._serving, mark) as cost:
                    wait_until(lambda: _ended(process), LIMIT, "the build did not end")
                    seconds = time.monotonic() - began
            finally:
                end(process)
        if process.returncode != 0:
            raise RuntimeError((self._scratch / "build.log").read_text()[-2_000:])
        size = sum(file.stat().st_blocks * 512 for file in (self._scratch / "metadata").rglob("*") if file.is_file())
        result = f"{len(self.index) / seconds:,.0f} keys/s, {size / 2**20:,.0f} MiB on disk"
        return _step("build", seconds, cost, result)

    def read(self, stats: int, *, walk: bool, kills: int = 0) -> list[Step]:
        """What is done over the finished store, on one mount."""
        mark = self._serving.mark()
        # As for a data set that never changes: else what was built a minute ago is asked again.
        with OwnPeer("ossmount", ("--metadata-ttl", "inf")).mounted(self.target) as mounted:
            known = self._serving.requests(mark).list
            steps = [Step("mount", mounted.seconds, 0.0, 0, known, "until its root answers")]
            steps.append(self._run(mounted, "first answer", "metadata_scale:first_name", {}))
            numbers = random.Random(1).sample(range(len(self.index)), min(stats, len(self.index)))
            names = [self.index.key(number).decode() for number in numbers]
            steps.append(self._run(mounted, f"{len(names):,} random stats", "metadata_scale:stat_names", {"names": names}))
            if walk:
                steps.append(
                    self._run(mounted, "walk of all", "scenarios.tree:walk", {"folder": FOLDER, "files": len(self.index)})
                )
            steps += [self._kill(mounted) for _ in range(kills)]
        return steps

    def _kill(self, mounted: Mounted) -> Step:
        """Until the next daemon answers getxattr(2), which the kernel cannot answer by itself."""
        mountpoint = self.target.mountpoint
        command = [sys.executable, "-m", "ossmount", "status", "--json", str(mountpoint)]
        variables = environment(self.target, own_environment()) | {"OSSMOUNT_STATE_DIR": str(self.target.scratch / "state")}
        daemon = json.loads(subprocess.run(command, env=variables, cwd=CHECKOUT, check=True, capture_output=True).stdout)[
            "daemon_pid"
        ]
        mark = self._serving.mark()
        with meter(mounted.pids, self._serving, mark) as cost:
            os.kill(daemon, signal.SIGKILL)
            began = time.monotonic()
            with contextlib.suppress(OSError):  # ENODATA: there is none
                os.getxattr(mountpoint, "user.none")
            seconds = time.monotonic() - began
        return _step("kill -9, next answer", seconds, cost, f"{_inodes():,} inodes known to the kernel")

    def _run(self, mounted: Mounted, name: str, work: str, arguments: dict[str, Any]) -> Step:
        mark = self._serving.mark()
        with meter(mounted.pids, self._serving, mark) as cost:
            outcome = crew.run([Task(f"benchmarks.{work}", mounted.place, arguments)], LIMIT)
        if outcome.errors:
            raise RuntimeError("; ".join(outcome.errors))
        if outcome.operations > len(outcome.latencies):
            result = f"{outcome.operations / outcome.seconds:,.0f} files/s"
        else:
            middle, high = (percentile(outcome.latencies, share) * 1_000 for share in (0.5, 0.99))
            result = f"p50 {middle:.2f} ms, p99 {high:.2f} ms"
        return _step(name, outcome.seconds, cost, result)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has; it stays a zombie, as its CPU time is gone when it was waited for."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _inodes() -> int:
    """FUSE inodes in the kernel's cache, of all mounts; 0 where that may not be read."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/slabinfo").read_text().splitlines():
            if line.startswith("fuse_inode "):
                return int(line.split()[1])
    return 0


def first_name(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """The first name of the folder."""
    record.begin()
    with os.scandir(f"{place.root}/{FOLDER}") as names:
        next(names)
    record.done(0)


def stat_names(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """stat(2) of each name."""
    paths = [f"{place.root}/{name}" for name in arguments["names"]]
    record.begin()
    for path in paths:
        os.stat(path)
        record.done(0)


def _step(name: str, seconds: float, cost: Cost, result: str) -> Step:
    return Step(name, seconds, cost.cpu, cost.peak_pss, cost.requests.list, result)


def measure(bucket: str, net: Network, scratch: Path, *, stats: int = 1_000, walk: bool = True, kills: int = 0) -> list[Step]:
    """All steps. `scratch` is an empty folder with a short path; the store of 10 million keys takes 1.2 GiB in it."""
    (scratch / "root").mkdir()
    with store.serve(scratch, scratch / "root", [net]) as serving:
        scale = Scale(serving, net, bucket, scratch)
        return [scale.build(), *scale.read(stats, walk=walk, kills=kills)]


def table(steps: list[Step]) -> str:
    lines = [f"{'':22}{'seconds':>9}{'CPU s':>8}{'peak MiB':>10}{'LIST':>7}  result"]
    for step in steps:
        peak = f"{step.peak / 2**20:.0f}" if step.peak else "-"
        lines.append(f"{step.name:22}{step.seconds:9.2f}{step.cpu:8.2f}{peak:>10}{step.lists:7}  {step.result}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metadata_scale", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--shape", choices=("nested", "flat"), default="nested", help="folders of 1,000, or one folder")
    parser.add_argument("--latency", type=network.parse, default=network.NETWORKS["region"], help="none, region or 5/10/200")
    parser.add_argument("--stats", type=int, default=1_000, help="names in random order")
    parser.add_argument("--no-walk", action="store_true", help="leave out the walk over all")
    parser.add_argument("--kills", type=int, default=0, help="of the daemon, at the end")
    parser.add_argument("--dir", default="/var/tmp", help="where the store goes; a short path")
    parser.add_argument("--json", type=Path, help="write the steps to a file, too")
    arguments = parser.parse_args()
    interrupts.install()
    bucket = f"synthetic-{arguments.shape}-{arguments.keys}"
    with tempfile.TemporaryDirectory(prefix="om-", dir=arguments.dir) as folder:
        steps = measure(
            bucket, arguments.latency, Path(folder), stats=arguments.stats, walk=not arguments.no_walk, kills=arguments.kills
        )
    print(f"{bucket}, {arguments.latency}\n\n{table(steps)}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([step._asdict() for step in steps], indent=1) + "\n")


if __name__ == "__main__":
    main()
