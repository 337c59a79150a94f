"""A reader process: `python -m benchmarks.worker`, one task on standard input, one result on standard output.

Protocol, one JSON line each: task in, "ready" out (everything is imported), "go" in, result out. It ends when its standard
input ends, so it cannot outlive whoever started it.
"""

from __future__ import annotations

import array
import base64
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.access import Place

#: A piece of work: (where the data is, its arguments, where to write down what was done).
Work = Callable[[Place, dict[str, Any], "Record"], None]


class Record:
    """What one reader did: the latency of each operation in nanoseconds, and the bytes received."""

    def __init__(self) -> None:
        self.latencies = array.array("Q")
        self.bytes_ = 0
        self.operations = 0
        self._began = 0

    def begin(self) -> None:
        self._began = time.perf_counter_ns()

    def done(self, size: int) -> None:
        """One operation ended, begun by begin() or by the done() before it."""
        now = time.perf_counter_ns()
        self.latencies.append(now - self._began)
        self._began = now
        self.bytes_ += size
        self.operations += 1


class Task(NamedTuple):
    """What a reader process is told. work names a function as MODULE:NAME."""

    work: str
    place: Place
    arguments: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps({"work": self.work, "place": list(self.place), "arguments": self.arguments})

    @staticmethod
    def from_json(text: str) -> Task:
        value = json.loads(text)
        return Task(value["work"], Place(*value["place"]), value["arguments"])


class Result(NamedTuple):
    """What a reader process tells. Times are of CLOCK_MONOTONIC, which all processes share."""

    began_ns: int
    ended_ns: int
    operations: int
    bytes_: int
    latencies: array.array[int]
    error: str

    def to_json(self) -> str:
        return json.dumps([*self[:4], base64.b64encode(self.latencies.tobytes()).decode(), self.error])

    @staticmethod
    def from_json(text: str) -> Result:
        began, ended, operations, size, latencies, error = json.loads(text)
        return Result(began, ended, operations, size, array.array("Q", base64.b64decode(latencies)), error)


def perform(task: Task, work: Work) -> Result:
    record = Record()
    began = time.monotonic_ns()
    error = ""
    try:
        record.begin()
        work(task.place, task.arguments, record)
    except Exception as failure:  # whatever went wrong is the result: the harness reports it
        error = f"{type(failure).__name__}: {failure}"
    return Result(began, time.monotonic_ns(), record.operations, record.bytes_, record.latencies, error)


def main() -> None:
    task = Task.from_json(sys.stdin.readline())
    module, _, name = task.work.partition(":")
    work: Work = getattr(importlib.import_module(module), name)
    print("ready", flush=True)
    if sys.stdin.readline().strip() == "go":
        print(perform(task, work).to_json(), flush=True)


if __name__ == "__main__":
    main()
