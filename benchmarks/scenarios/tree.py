"""Names and attributes: walks and long listings."""

from __future__ import annotations

import subprocess
from typing import Any

from benchmarks.access import Place, source
from benchmarks.crew import Outcome
from benchmarks.scenarios.base import BUCKET_MOUNTS, DATA, NULL_FILES, Context, Scenario, cold_and_warm, rate
from benchmarks.worker import Record


def walk(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Walks a folder and stats every file; plain GETs list it flat instead."""
    files, _ = source(place).walk(arguments["folder"])
    if files != arguments["files"]:
        raise ValueError(f"{files} files found, {arguments['files']} are there")
    record.done(0)
    record.operations = files


def long_listing(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """`ls -l`, the program."""
    folder = f"{place.root}/{arguments['folder']}"
    done = subprocess.run(["ls", "-l", folder], capture_output=True, check=True)
    files = done.stdout.count(b"\n") - 1  # the first line is the total
    if files != arguments["files"]:
        raise ValueError(f"ls -l shows {files} files, {arguments['files']} are there")
    record.done(0)
    record.operations = files


def _walk(context: Context) -> Outcome:
    tree = {"folder": "train", "files": context.scale.train_files}
    if context.mounted.place.null:
        tree = {"folder": ".", "files": NULL_FILES}
    return context.run(f"{__name__}:walk", [tree])


def _ls(context: Context) -> Outcome:
    return context.run(f"{__name__}:long_listing", [{"folder": "small", "files": context.scale.small_files}])


def _ls_large(context: Context) -> Outcome:
    return context.run(f"{__name__}:long_listing", [{"folder": "data", "files": context.scale.large_listing}])


SCENARIOS = (
    Scenario("walk", "walk and stat a tree of folders", rate("files"), ("train",), cold_and_warm(_walk)),
    Scenario("ls", "ls -l of one folder", rate("files"), ("small",), cold_and_warm(_ls, DATA)),
    Scenario(
        "ls-100000",
        "ls -l of one very large folder (100,000 names at full scale)",
        rate("files"),
        (),
        cold_and_warm(_ls_large, BUCKET_MOUNTS),
        bucket=lambda scale: f"synthetic-flat-{scale.large_listing}",
        limit=300.0,
    ),
)
