"""`python -m benchmarks.soak --minutes 60 --json FILE`: ends with 0 when nothing grew, no byte was wrong and no read failed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, mounts
from benchmarks.cgroup import NoCgroup, memory_cgroup
from benchmarks.processes import CHECKOUT, end, interrupts, own_environment
from benchmarks.soak import chart, day
from benchmarks.soak.bucket import BUCKET, Bucket
from benchmarks.soak.samples import Sample, courses, take
from benchmarks.soak.tokens import Tokens
from ossmount.emulator.server import EmulatedServer

TTL = 5  # seconds for which an answer holds; 60 without options
#: Small limits and short timeouts: what a day does to a large mount happens here within an hour. The deadline of a read is
#: long: the store is one Python process on the same cores, and the soak is to find what grows, not what is slow.
OPTIONS = (
    *("--memory-limit", "32M", "--cache-size", "48M", "-o", f"attr_timeout={TTL},entry_timeout={TTL},negative_timeout=1"),
    *("--fetch-workers", "2", "--connections", "16", "--timeout", "120"),
)


@dataclass(frozen=True)
class Plan:
    """How long and how much."""

    minutes: float = 60.0  # once the mount has settled
    settle: float = 20.0  # minutes that it may take to settle
    every: float = 5.0  # seconds between samples
    readers: int = 8
    folders: int = 100
    files: int = 40  # small objects in each folder
    large: int = 4
    pause: float = 0.2  # seconds between changes of the bucket
    token: float = 12.0  # seconds that a token is valid; 300 where they are short
    memory: int = 192  # MiB of the readers' cgroup, so that the kernel forgets names and pages as on a machine of little memory


@dataclass(frozen=True)
class Run:
    """What was seen of the mount: answers of `ossmount status --json` when it had settled and at the end."""

    samples: list[Sample]
    settled: bool
    before: dict[str, Any]
    after: dict[str, Any]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parsed() -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    for name, default in asdict(Plan()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"(default {default})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="samples go there, and a chart beside it (FILE.png)")
    given = vars(parser.parse_args())
    output: Path | None = given.pop("json")
    plan = Plan(**given)
    if plan.minutes * 60 < 8 * plan.every:
        parser.error("--minutes: too short for eight samples, give more or a smaller --every")
    return plan, output


@contextlib.contextmanager
def mounted(scratch: Path, url: str, credentials: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The mount and the environment of commands for it; taken away at the end, whatever happens."""
    mountpoint = scratch / "mount"
    mountpoint.mkdir()
    places = {"OSSMOUNT_STATE_DIR": str(scratch / "state"), "OSSMOUNT_METADATA_DIR": str(scratch / "metadata")}
    variables = {**own_environment(), **places}
    own = ["--endpoint", url, "--credentials", str(credentials), "--cache-dir", str(scratch / "cache")]
    words = ["mount", f"oss://{BUCKET}", str(mountpoint), *own, *OPTIONS]
    subprocess.run([sys.executable, "-m", "ossmount", *words], env=variables, cwd=CHECKOUT, check=True)
    try:
        yield mountpoint, variables
    finally:
        done = subprocess.run(
            [sys.executable, "-m", "ossmount", "umount", "--force", str(mountpoint)], env=variables, check=False
        )
        if done.returncode:
            mounts.abort(mountpoint)


def status_of(mountpoint: Path, variables: dict[str, str]) -> dict[str, Any]:
    words = [sys.executable, "-m", "ossmount", "status", str(mountpoint), "--json"]
    answer: dict[str, Any] = json.loads(subprocess.run(words, env=variables, capture_output=True, check=True).stdout)
    return answer


class Readers:
    """Processes that read the mount until they are told to stop."""

    def __init__(self, mountpoint: Path, plan: Plan, stack: contextlib.ExitStack) -> None:
        """stack: what it takes to end them and their cgroup."""
        words = [sys.executable, "-m", "benchmarks.soak.reader", str(mountpoint)]
        numbered = [[*words, str(number), str(plan.readers)] for number in range(plan.readers)]
        try:
            cgroup = stack.enter_context(memory_cgroup(plan.memory << 20, "ossmount-soak"))
            numbered = [cgroup.command(words) for words in numbered]
        except NoCgroup as why:
            say(f"{why}: the kernel forgets only what changes")
        self._processes = []
        self._known: set[int] = set()
        for words in numbered:
            process = subprocess.Popen(
                words, env=own_environment(), cwd=CHECKOUT, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
            )
            stack.callback(end, process)
            self._processes.append(process)

    def know_all(self) -> bool:
        """Whether each has listed and read its share of the bucket."""
        for process in self._processes:
            assert process.stdout is not None
            if process.pid not in self._known and select.select([process.stdout], [], [], 0)[0]:
                process.stdout.readline()
                self._known.add(process.pid)
        return len(self._known) == len(self._processes)

    def stop(self) -> Counter[str]:
        """What they did, added up."""
        totals: Counter[str] = Counter()
        for process in self._processes:
            if process.poll() is not None:
                totals["ended early"] += 1
            process.terminate()
        for process in self._processes:
            said = process.communicate(timeout=120)[0].splitlines()[-1:]
            with contextlib.suppress(ValueError):  # one that was killed says nothing, and was counted
                totals.update(json.loads(said[0] if said else b""))
        return totals


def watch(plan: Plan, scratch: Path, mountpoint: Path, variables: dict[str, str], readers: Readers) -> Run:
    """Samples until the mount has settled, and for the minutes of the plan after that."""
    samples: list[Sample] = []
    began = time.monotonic()
    settled = False
    before: dict[str, Any] = {}
    finish = began + plan.settle * 60
    while True:
        status = status_of(mountpoint, variables)
        at = time.monotonic() - began
        if not before and ((settled := readers.know_all() and day.evicted(status) > 0) or at >= plan.settle * 60):
            before, finish = status, time.monotonic() + plan.minutes * 60
            say(f"{at / 60:6.1f} min: {'settled' if settled else 'NOT settled'}")
        samples.append(take(at, status, scratch / "metadata", scratch / "cache", settling=not before))
        if len(samples) % 12 == 0:
            latest = samples[-1]
            total = sum(latest.pss.values()) >> 20
            say(f"{at / 60:6.1f} min: {total} MiB, {sum(latest.descriptors.values())} descriptors, {latest.tasks} tasks")
        if before and time.monotonic() >= finish:
            return Run(samples, settled, before, status)
        interrupts.check()
        time.sleep(max(0.0, began + len(samples) * plan.every - time.monotonic()))


@contextlib.contextmanager
def beside(*work: Any) -> Iterator[None]:
    """Each runs in a thread with an event that tells it to stop, until the block ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=each, args=(stop,)) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def main() -> int:
    plan, output = parsed()
    interrupts.install()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="osk-")))
        server = stack.enter_context(EmulatedServer(scratch / "server"))
        say("the bucket is made")
        bucket = Bucket(server.store, plan.folders, plan.files, plan.large)
        tokens = Tokens(server.accounts, scratch / "credentials", plan.token)
        stack.enter_context(beside(tokens.run, lambda stop: bucket.change(stop, plan.pause)))
        mountpoint, variables = stack.enter_context(mounted(scratch, server.url, tokens.file))
        readers = Readers(mountpoint, plan, stack)
        run = watch(plan, scratch, mountpoint, variables, readers)
        totals = readers.stop()
    events = day.events(run.before, run.after)
    events |= {"seconds": round(run.after["uptime"] - run.before["uptime"]), "changes of the bucket": bucket.changes}
    if output is not None:
        _write(output, plan, run, totals, events)
    return report(run, totals, events)


def report(run: Run, totals: Counter[str], events: dict[str, int]) -> int:
    """Says what was found; the exit code."""
    keeper = run.after["facts"]["keeper"]
    bad = {
        **{name: totals[name] for name in ("errors", "wrong", "ended early")},
        "daemons that died": keeper["deaths"],
        "runs that never settled": int(not run.settled),
    }
    print(f"{dict(totals)}, load {os.getloadavg()[0]:.1f}")
    for name, count in events.items():
        print(f"{name}: {count:,}")
    found = courses(run.samples)
    for course in found:
        print(f"{'GROWS' if course.grows else 'flat ':5} {course.name}: {course.early:,.0f} → {course.late:,.0f}")
    for name, count in bad.items():
        if count:
            print(f"FAILED {name}: {count}")
    return 1 if any(course.grows for course in found) or any(bad.values()) else 0


def _write(output: Path, plan: Plan, run: Run, totals: Counter[str], events: dict[str, int]) -> None:
    described = {
        "machine": {**machine.describe(), "load": os.getloadavg()},
        "plan": asdict(plan),
        "options": OPTIONS,
        "totals": totals,
        "events": events,
        "courses": [{**asdict(course), "grows": course.grows} for course in courses(run.samples)],
    }
    lines = ",\n".join(json.dumps(asdict(sample)) for sample in run.samples)  # one of them is long enough
    output.write_text(f'{json.dumps(described, indent=1).removesuffix("}").rstrip()},\n "samples": [\n{lines}\n]}}\n')
    objects = plan.folders * plan.files
    title = (
        f"{plan.minutes:g} minutes, {plan.readers} readers, {objects:,} objects, {events['changes of the bucket']:,} changes"
    )
    chart.draw(run.samples, title, output.with_suffix(".png"))


if __name__ == "__main__":
    sys.exit(main())
