"""Directory order: readers that go through a folder as it is listed get the files that follow.

Several readers may share one folder (each n-th file is one reader's): what counts is that files are read near behind the
foremost one. All files stay in the slab, where each READ moves the window on.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from ossmount.errors import OssMountError
from ossmount.filesystem.ahead.targets import Target, target_of
from ossmount.metadata.interface import KnownTree

NEAR = 8  # files behind the foremost one in which the next read is expected, and in front of it where one counts as late
SURE = 4  # reads in order; one out of it takes two back, so that chance does not pass for order in a small folder
FIRST = 8  # files of the first window; it doubles with each read until there are
MOST = 256
MOST_BYTES = 64 << 20
SECOND_LOOK = 64  # reads at random after which a folder may be in order once more
FOLDERS = 256  # that are watched, least recently used first


class Folder:
    """One directory and where its readers are."""

    def __init__(self) -> None:
        self.score = 0
        self.jumps = 0
        self.window = FIRST
        self.expected: dict[int, Target | None] = {}  # the nodes behind the foremost one, in order
        self.late: deque[int] = deque(maxlen=NEAR)  # those in front of it
        self.foremost = 0  # node
        self.fetched = 0  # the last node that was given out; 0: none behind the foremost one
        self.out: OrderedDict[int, int] = OrderedDict()  # node: size, given out and not read

    @property
    def sure(self) -> bool:
        return self.score >= SURE


class Folders:
    """The directories that are read in order. Implements targets.Source."""

    rank = 1
    probes = 1

    def __init__(self, tree: KnownTree, largest_window: int = MOST_BYTES) -> None:
        """largest_window: bytes ahead in one folder."""
        self._tree = tree
        self._largest = largest_window
        self._folders: OrderedDict[int, Folder] = OrderedDict()
        self._active: deque[int] = deque()  # directories whose window has room

    def read(self, node: int, directory: int) -> bool:
        """A reader has begun a small file: whether its folder is read in order."""
        folder = self._folders.get(directory)
        if folder is None:
            folder = self._folders[directory] = Folder()
            if len(self._folders) > FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(directory)
        folder.out.pop(node, None)
        if node in folder.expected:
            folder.score = min(2 * SURE, folder.score + 1)
            self._advance(folder, node)
        elif node in folder.late or node == folder.foremost:
            pass
        else:
            if folder.foremost:
                folder.score = max(-SURE, folder.score - 2)
            self._restart(folder, node)
        if folder.sure:
            folder.window = min(MOST, folder.window * 2)
            if directory not in self._active:
                self._active.append(directory)
        return folder.sure

    def _advance(self, folder: Folder, node: int) -> None:
        """The foremost reader is at the node, which was expected."""
        for passed in list(folder.expected):
            del folder.expected[passed]
            folder.late.append(passed)
            if passed == node:
                break
        folder.foremost = node
        self._fill(folder)

    def _restart(self, folder: Folder, node: int) -> None:
        folder.jumps += 1
        if folder.jumps % SECOND_LOOK == 0:
            folder.score = 1 - SURE
        folder.window = FIRST
        folder.expected.clear()
        folder.late.clear()
        folder.foremost = node
        if folder.score > -SURE:  # one that is read at random is not looked at any closer
            self._fill(folder)

    def _fill(self, folder: Folder) -> None:
        """Keeps as many nodes expected as a reader may jump over and the window holds."""
        wanted = max(NEAR, folder.window) if folder.sure else NEAR
        if len(folder.expected) > wanted // 2:
            return
        last = next(reversed(folder.expected), folder.foremost)
        for node in self._behind(last, wanted):
            folder.expected[node.node if isinstance(node, Target) else node] = node if isinstance(node, Target) else None

    def _behind(self, node: int, count: int) -> list[Target | int]:
        try:
            nodes = self._tree.known_behind(node, count)
        except OssMountError:
            return []
        return [target_of(each) or each.id for each in nodes]

    def next(self) -> Target | None:
        while self._active:
            folder = self._folders.get(self._active[0])
            target = self._next_of(folder) if folder is not None and folder.sure else None
            if target is not None:
                self._active.rotate(-1)
                return target
            self._active.popleft()
        return None

    def _next_of(self, folder: Folder) -> Target | None:
        """The first expected file that was not given out, while the window has room."""
        if len(folder.out) >= folder.window or sum(folder.out.values()) >= self._largest:
            return None
        begun = folder.fetched not in folder.expected
        for node, target in folder.expected.items():
            if begun and target is not None and node not in folder.out:
                folder.fetched = node
                folder.out[node] = target.version.size
                return target
            begun = begun or node == folder.fetched
        return None

    def passed(self) -> list[int]:
        """Nodes that were given out and that the readers have passed by; they count no longer here."""
        found: list[int] = []
        for folder in [folder for folder in self._folders.values() if folder.out]:
            for node in list(folder.out):
                if node in folder.expected or node in folder.late:
                    break
                del folder.out[node]
                found.append(node)
        return found

    def wants(self, target: Target) -> bool:
        return any(target.node in folder.out for folder in self._folders.values())

    def stored_unread(self) -> int:
        return 0

    def took(self, target: Target, stored: bool) -> None:
        """Nothing is stored; what is staged is in `out` until it is read."""

    def returned(self, target: Target) -> None:
        self.missed(target)

    def missed(self, target: Target) -> None:
        for folder in self._folders.values():
            folder.out.pop(target.node, None)
