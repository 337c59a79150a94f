"""What `ossmount warm --pin` and `--unpin` ask the daemon, and how often: until every file lies whole in the cache on disk.

A file may have been read before without having been written to the disk (its reader was quicker than the disk), and is then
in the kernel's page cache: such files are dropped from there and read again, by fewer threads each time. A daemon that dies or
is restarted meanwhile is followed by another one, which is asked again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ossmount.control.client import ControlError, Gone, ask
from ossmount.control.registry import Record
from ossmount.exit_codes import CommandError, ExitCode

#: Threads of each pass over what is lacking, and seconds before it: by then the cache has made room, which takes a scan of it.
PASSES: Final = ((32, 0.0), (8, 0.25), (4, 1.0), (2, 5.0), (1, 15.0), (1, 30.0))
_BATCH: Final = 500  # paths told at once
_PATIENCE: Final = 300.0  # seconds for one answer: names that are not known yet are asked of OSS
_SETTLES: Final = 60.0  # seconds that what is under way to the disk may take
_RESTART: Final = 120.0  # seconds that the next daemon may take
_LOOK: Final = 0.05  # seconds between two looks at either

#: Reads the files with so many threads; the failures, by path.
Read = Callable[[Sequence[str], int], dict[str, str]]


class Pins:
    """The pins of one mount."""

    def __init__(self, find: Callable[[], Record | None], mountpoint: str) -> None:
        """find: what is known of the mount now."""
        self._find = find
        self._mountpoint = mountpoint

    def pin(self, paths: Sequence[str]) -> dict[str, str]:
        """Pins files (absolute paths) and returns the state of each. Raises CommandError when one does not fit."""
        states = self._ask(paths, on=True)
        full = [path for path in paths if states[path] == "no room"]
        if full:
            raise CommandError(
                ExitCode.NO_ROOM,
                f"--pin: {len(full):,} of {len(paths):,} files do not fit, {full[0]} the first: what is pinned may take nine "
                "tenths of --cache-size and leaves --cache-free-space and 2 % more of the disk free. The other files are "
                "pinned and nothing was read; `ossmount warm --unpin MOUNT PATH` lets files go",
            )
        return states

    def unpin(self, paths: Sequence[str]) -> dict[str, str]:
        """Lets files go; what came of each."""
        return self._ask(paths, on=False)

    def fill(self, lacking: list[str], read: Read) -> dict[str, str]:
        """Reads pinned files until all of each is in the cache; why not, by path, of those where that failed."""
        failures: dict[str, str] = {}
        for readers, pause in PASSES:
            time.sleep(pause)
            self._ask(lacking, on=True, anew=True)
            failures = read(lacking, readers)
            self._settle()
            states = self._ask(lacking, on=True)
            lacking = [path for path in lacking if states[path] != "kept"]
            if not lacking:
                return {}
        return {path: failures.get(path, "not all of it could be written to the cache on disk") for path in lacking}

    def _settle(self) -> None:
        """Waits for what is under way to the disk."""
        end = time.monotonic() + _SETTLES
        while self._answer([], on=True)["writing"] and time.monotonic() < end:
            time.sleep(_LOOK)

    def _ask(self, paths: Sequence[str], **wishes: bool) -> dict[str, str]:
        states: dict[str, str] = {}
        for first in range(0, len(paths), _BATCH):
            batch = paths[first : first + _BATCH]
            answer = self._answer([os.path.relpath(path, self._mountpoint) for path in batch], **wishes)
            states.update(zip(batch, answer["states"], strict=True))
        return states

    def _answer(self, paths: Sequence[str], **wishes: bool) -> dict[str, Any]:
        try:
            answer = self._asked(paths, **wishes)
        except ControlError as error:
            raise CommandError(ExitCode.UNEXPECTED, f"{self._mountpoint}: {error}") from None
        if "refused" in answer:
            raise CommandError(ExitCode.USAGE, f"--pin: {answer['refused']}")
        return answer

    def _asked(self, paths: Sequence[str], **wishes: bool) -> dict[str, Any]:
        """Of the daemon that serves, or will soon. Asking once more does no harm. Raises ControlError."""
        end = 0.0
        while True:
            record = self._find()
            if record is None or not record.alive():
                raise ControlError("it is not mounted any more")
            try:
                return ask(record.socket, "pin", timeout=_PATIENCE, paths=list(paths), **wishes)
            except Gone:
                end = end or time.monotonic() + _RESTART
                if not record.kept() or time.monotonic() > end:
                    raise
            time.sleep(_LOOK)
