"""What one page of a listing says, directory by directory. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import lt

from ossmount.metadata import keys
from ossmount.model import ListPage, ObjectInfo


@dataclass(slots=True)
class Stretch:
    """Everything that stands at the positions [low, high) of one directory.

    `directories` may hold one name before low: a directory that is known to exist because a key below it was seen.
    """

    prefix: bytes  # the directory, b"" or ending in "/"
    low: bytes
    high: bytes | None = None
    files: list[tuple[bytes, ObjectInfo]] = field(default_factory=list)  # stored names in byte order
    directories: list[bytes] = field(default_factory=list)  # stored names in the order of their positions


@dataclass(slots=True)
class Split:
    """A page split into directories, parents before their children."""

    stretches: list[Stretch]
    hidden: list[bytes]  # keys that no path can show
    last: bytes | None  # the last key or prefix that the page holds; None when it ends the listing


def _low_of(prefix: bytes, start_after: bytes) -> bytes:
    """The first position of a directory that a listing from start_after on shows completely."""
    if not start_after.startswith(prefix) or start_after <= prefix:
        return b""
    return keys.position_of(start_after[len(prefix) :]) + b"\0"


class _Splitter:
    """The open directories on the way to the current key, outermost first, and all that were met."""

    def __init__(self, prefix: bytes, start_after: bytes) -> None:
        self.start_after = start_after
        self.first = Stretch(prefix, _low_of(prefix, start_after))
        self.open = [self.first]
        self.met = [self.first]
        self.hidden: list[bytes] = []
        self.seen_any = False
        # The directories that the listing starts inside of: what is not seen of them any more is known not to exist.
        rest = start_after[len(prefix) :] if start_after.startswith(prefix) else b""
        for name in rest.split(b"/")[:-1]:
            if not keys.showable(name):
                break
            self._enter(name, seen=False)

    def _enter(self, name: bytes, *, seen: bool) -> None:
        parent = self.open[-1]
        prefix = parent.prefix + name + b"/"
        if seen:
            parent.directories.append(name)
        stretch = Stretch(prefix, _low_of(prefix, self.start_after))
        self.open.append(stretch)
        self.met.append(stretch)

    def _leave(self, key: bytes) -> None:
        while not key.startswith(self.open[-1].prefix):
            self.open.pop()

    def add_objects(self, folder: bytes, infos: Sequence[ObjectInfo]) -> None:
        """Consecutive objects whose keys are `folder` and one name, or `folder` itself."""
        self._leave(folder)
        if not self.seen_any:
            self._see_open()
        for component in folder[len(self.open[-1].prefix) :].split(b"/")[:-1]:
            if not keys.showable(component):
                self.hidden.extend(info.key for info in infos)
                return
            self._enter(component, seen=True)
        if infos[0].key == folder:
            infos = infos[1:]  # a directory marker
        skip = len(folder)
        names = [info.key[skip:] for info in infos]
        if keys.all_showable(names):
            self.open[-1].files.extend(zip(names, infos, strict=True))
            return
        for name, info in zip(names, infos, strict=True):
            if keys.showable(name):
                self.open[-1].files.append((name, info))
            else:
                self.hidden.append(info.key)

    def _see_open(self) -> None:
        """The first key proves the directories that the listing started inside of, or none of them will be."""
        self.seen_any = True
        for parent, child in zip(self.open, self.open[1:], strict=False):
            parent.directories.append(child.prefix[len(parent.prefix) : -1])

    def add_prefix(self, prefix: bytes) -> None:
        name = prefix[len(self.first.prefix) : -1]
        if keys.showable(name):
            self.first.directories.append(name)
        else:
            self.hidden.append(prefix)

    def finish(self, last: bytes | None) -> Split:
        for stretch in self.met:
            if last is not None and last.startswith(stretch.prefix):
                stretch.high = keys.position_of(last[len(stretch.prefix) :]) + b"\0"
        return Split(self.met, self.hidden, last)


def _check(prefix: bytes, after: bytes, found: Sequence[bytes]) -> None:
    # Between two keys with a prefix there is no key without it.
    if not found or (
        after < found[0]
        and found[0].startswith(prefix)
        and found[-1].startswith(prefix)
        and all(map(lt, found, islice(found, 1, None)))
    ):
        return
    for previous, key in zip((after, *found), found, strict=False):
        if not key.startswith(prefix):
            raise ValueError(f"the listing of {prefix!r} holds {key!r}")
        if key <= previous:
            raise ValueError(f"the listing of {prefix!r} is out of order at {key!r}")


def split_page(prefix: bytes, delimiter: bytes, start_after: bytes, page: ListPage) -> Split:
    """Splits one answer to ListObjectsV2(prefix, delimiter, start_after).

    Without a delimiter it tells of every directory that its keys lie in, and of those that start_after lies in; the last
    of each depth may be cut off. Keys outside the prefix or out of order are an error of the server's: ValueError.
    """
    splitter = _Splitter(prefix, start_after if not delimiter else b"")
    if delimiter:
        splitter.first.low = _low_of(prefix, start_after)
    _check(prefix, prefix, page.prefixes)
    for common in page.prefixes:
        if not delimiter or not common.endswith(delimiter):
            raise ValueError(f"the listing of {prefix!r} holds {common!r}")
        splitter.add_prefix(common)
    found = [info.key for info in page.objects]
    _check(prefix, start_after, found)
    begin = 0
    for folder, run in groupby([key[: key.rfind(b"/") + 1] for key in found]):
        end = begin + len(list(run))
        splitter.add_objects(folder, page.objects[begin:end])
        begin = end
    last: bytes | None = None
    if page.next_token:
        ends = [part for part in (page.objects[-1].key if page.objects else b"", *page.prefixes[-1:]) if part]
        if not ends:
            raise ValueError(f"the listing of {prefix!r} says that it goes on, after no key at all")
        last = max(ends)
    return splitter.finish(last)
