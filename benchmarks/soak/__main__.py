"""`python -m benchmarks.soak --minutes 20 --json FILE`: ends with 0 when nothing grew, no byte was wrong and no read failed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
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
from benchmarks.processes import CHECKOUT, end, interrupts, own_environment
from benchmarks.soak import chart
from benchmarks.soak.bucket import BUCKET, Bucket
from benchmarks.soak.samples import Sample, courses, take
from ossmount.emulator.server import EmulatedServer

#: Small limits and short timeouts: what a day does to a large mount happens here within minutes. The deadline of a read is
#: long: the store is one Python process on the same cores, and the soak is to find what grows, not what is slow.
OPTIONS = (
    *("--memory-limit", "96M", "--cache-size", "192M", "-o", "attr_timeout=10,entry_timeout=10,negative_timeout=1"),
    *("--fetch-workers", "2", "--timeout", "120"),
)


@dataclass(frozen=True)
class Plan:
    """How long and how much."""

    minutes: float = 20.0
    every: float = 5.0  # seconds between samples
    readers: int = 3
    folders: int = 1000
    files: int = 40  # small objects in each folder
    large: int = 4
    pause: float = 0.02  # seconds between changes of the bucket


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
def mounted(scratch: Path, url: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """The mount and the environment of commands for it; taken away at the end, whatever happens."""
    mountpoint = scratch / "mount"
    mountpoint.mkdir()
    keys = {"OSS_ACCESS_KEY_ID": "test-id", "OSS_ACCESS_KEY_SECRET": "test-secret"}
    places = {"OSSMOUNT_STATE_DIR": str(scratch / "state"), "OSSMOUNT_METADATA_DIR": str(scratch / "metadata")}
    variables = {**own_environment(), **keys, **places}
    words = ["mount", f"oss://{BUCKET}", str(mountpoint), "--endpoint", url, "--cache-dir", str(scratch / "cache"), *OPTIONS]
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


@contextlib.contextmanager
def readers(mountpoint: Path, count: int, totals: Counter[str]) -> Iterator[None]:
    """Readers until the block ends; what they did is added up then."""
    words = [sys.executable, "-m", "benchmarks.soak.reader", str(mountpoint)]
    started = [
        subprocess.Popen(
            [*words, str(seed)], env=own_environment(), cwd=CHECKOUT, stdout=subprocess.PIPE, start_new_session=True
        )
        for seed in range(count)
    ]
    try:
        yield
        for process in started:
            if process.poll() is not None:
                totals["ended early"] += 1
            process.terminate()
        for process in started:
            with contextlib.suppress(ValueError):  # one that was killed says nothing, and was counted
                totals.update(json.loads(process.communicate(timeout=120)[0]))
    finally:
        for process in started:
            end(process)


def watch(plan: Plan, scratch: Path, mountpoint: Path, variables: dict[str, str]) -> list[Sample]:
    samples: list[Sample] = []
    begin = time.monotonic()
    while (at := time.monotonic() - begin) < plan.minutes * 60:
        status = status_of(mountpoint, variables)
        samples.append(take(at, status, scratch / "metadata", scratch / "cache"))
        if len(samples) % 12 == 0:
            latest = samples[-1]
            total = sum(latest.pss.values()) >> 20
            say(f"{at / 60:6.1f} min: {total} MiB, {sum(latest.descriptors.values())} descriptors, {latest.tasks} tasks")
        interrupts.check()
        time.sleep(max(0.0, begin + len(samples) * plan.every - time.monotonic()))
    return samples


def main() -> int:
    plan, output = parsed()
    interrupts.install()
    totals: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="osk-")))
        server = stack.enter_context(EmulatedServer(scratch / "server"))
        say("the bucket is made")
        bucket = Bucket(server.store, plan.folders, plan.files, plan.large)
        mountpoint, variables = stack.enter_context(mounted(scratch, server.url))
        stop = threading.Event()
        changing = threading.Thread(target=bucket.change, args=(stop, plan.pause), name="changes")
        changing.start()
        stack.callback(changing.join)
        stack.callback(stop.set)
        with readers(mountpoint, plan.readers, totals):
            samples = watch(plan, scratch, mountpoint, variables)
        status = status_of(mountpoint, variables)
    grown = [course for course in courses(samples) if course.grows]
    bad = {name: totals[name] for name in ("errors", "wrong", "ended early") if totals[name]}
    keeper = status["facts"]["keeper"]
    bad |= {"daemons that died": keeper["deaths"]} if keeper["deaths"] else {}
    if output is not None:
        _write(output, plan, samples, {**totals, "changes": bucket.changes}, status["counters"])
    print(f"{dict(totals)}, {bucket.changes:,} changes of the bucket, {os.getloadavg()[0]:.1f} load")
    for course in courses(samples):
        print(f"{'GROWS' if course.grows else 'flat ':5} {course.name}: {course.early:,.0f} → {course.late:,.0f}")
    for name, count in bad.items():
        print(f"FAILED {name}: {count}")
    return 1 if grown or bad else 0


def _write(output: Path, plan: Plan, samples: list[Sample], totals: dict[str, int], counters: object) -> None:
    described = {
        "machine": machine.describe(),
        "plan": asdict(plan),
        "options": OPTIONS,
        "totals": totals,
        "counters": counters,
    }
    output.write_text(json.dumps({**described, "samples": [asdict(sample) for sample in samples]}, indent=1) + "\n")
    objects = plan.folders * plan.files
    title = f"{plan.minutes:g} minutes, {plan.readers} readers, {objects:,} objects, {totals['changes']:,} changes"
    chart.draw(samples, title, output.with_suffix(".png"))


if __name__ == "__main__":
    sys.exit(main())
