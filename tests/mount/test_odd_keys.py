"""Buckets of odd keys: what a mount shows is what the rules of ossmount.metadata.keys say, byte for byte."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from dataclasses import dataclass, field

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ossmount.metadata import keys
from ossmount.metadata.keys import SUFFIX
from ossmount.model import Kind
from tests.mount.support import BUCKET, LIMIT, Mount, read_mapped, workshop

#: Components that meet each other: prefixes of one another around "/", escaped names, names that no path can have.
COMPONENTS = [
    *(b"a", b"a-", b"a.", b"a0", b"a" + SUFFIX, b"a" + SUFFIX * 2, b"b", b"B", b" ", b"~", b"-r", b"...", b".a"),
    *("é".encode(), "日本".encode(), "\U0001f642".encode(), b"%41", b"+&=?#", b"new\nline", b"\x01\x7f", b"'\"\\*"),
    *(b"", b".", b"..", b"n" * 255, b"n" * 256),
]
LAST = [b"n" * 250, b"n" * 250 + SUFFIX]  # files only: with the suffix that a folder or the rules add they are too long
SIZES = [0, 1, 100, 4095, 4096, 4097, 131_073, 1_100_000]


def keys_of(components: list[bytes]) -> st.SearchStrategy[set[bytes]]:
    """Keys of few components, so that they meet often. OSS has none that begins with a slash."""
    folders = st.lists(st.sampled_from(components), max_size=3)
    key = st.builds(lambda places, name: b"/".join([*places, name]), folders, st.sampled_from([*components, *LAST]))
    return st.sets(key.filter(lambda key: not key.startswith(b"/") and 0 < len(key) <= keys.KEY_MAX), min_size=30, max_size=70)


BUCKETS = st.lists(st.sampled_from(COMPONENTS), min_size=9, max_size=12, unique=True).flatmap(keys_of)


def content(key: bytes) -> bytes:
    choose = random.Random(key)
    return choose.randbytes(choice(choose))


def choice(choose: random.Random) -> int:
    """A size; the large ones are rare."""
    return choose.choice(SIZES if choose.random() < 0.2 else SIZES[:6])


@dataclass
class Shown:
    """What a mount of these keys must show, from the rules alone."""

    files: dict[bytes, bytes] = field(default_factory=dict)  # path: key
    folders: set[bytes] = field(default_factory=set)
    hidden: set[bytes] = field(default_factory=set)


def shown(stored: set[bytes]) -> Shown:
    found = Shown()
    folders = {key[: key.index(b"/", start)] for key in stored for start in _components(key)}
    for key in stored:
        *places, name = key.split(b"/")
        path: list[bytes] = []
        for place in places:
            part = keys.shown_name(place, Kind.DIRECTORY) if keys.showable(place) else None
            if part is None:
                found.hidden.add(key)
                break
            path.append(part)
            found.folders.add(b"/".join(path))
        else:
            if not name:
                continue  # a marker
            last = keys.shown_name(name, Kind.FILE, shadowed=key in folders) if keys.showable(name) else None
            if last is None:
                found.hidden.add(key)
            else:
                found.files[b"/".join([*path, last])] = key
    return found


def _components(key: bytes) -> list[int]:
    """Where a component that is followed by a slash begins."""
    starts = [0] + [place + 1 for place, byte in enumerate(key) if byte == 0x2F]
    return starts[:-1]


def walk(mount: Mount) -> tuple[set[bytes], set[bytes]]:
    root = os.fsencode(mount.path)
    files, folders = set(), set()
    for place, inner, names in os.walk(root, onerror=fail):
        at = os.path.relpath(place, root)
        files |= {os.path.normpath(os.path.join(at, name)) for name in names}
        folders |= {os.path.normpath(os.path.join(at, name)) for name in inner}
    return files, folders


def fail(error: OSError) -> None:
    raise error


def digests(mount: Mount) -> dict[bytes, str]:
    """What `find` and `sha256sum` tell of every file, by path."""
    script = f"cd '{mount.path}' && find . -type f -print0 | xargs -0 -r sha256sum --zero --"
    done = subprocess.run(["sh", "-c", script], capture_output=True, timeout=LIMIT, check=True)
    return {line[68:]: line[:64].decode() for line in done.stdout.split(b"\0") if line}


def read_here_and_there(path: bytes, data: bytes, choose: random.Random) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert os.fstat(descriptor).st_size == len(data)
        for _ in range(3):
            offset, size = choose.randint(0, len(data) + 1), choose.choice([1, 4096, 70_000])
            assert os.pread(descriptor, size, offset) == data[offset : offset + size], (path, offset, size)
    finally:
        os.close(descriptor)


def map_here_and_there(files: dict[bytes, bytes], choose: random.Random) -> None:
    places = {
        path: [(0, 1), (len(data) - 1, len(data)), *((place, place + 100) for place in [choose.randrange(len(data))])]
        for path, data in files.items()
        if data
    }
    for path, pieces in read_mapped(places).items():
        assert pieces == [files[path][start:end] for start, end in places[path]], path


@settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(stored=BUCKETS, seed=st.integers(0, 1 << 30))
def _check(channel: str, stored: set[bytes], seed: int) -> None:
    choose = random.Random(seed)
    expected = shown(stored)
    with workshop() as shop:
        for key in stored:
            shop.server.store.put(BUCKET, key, content(key))
        with shop.mounted("--channel", channel) as mount:
            # Half of the files are met by their path first, the others by a listing.
            paths = sorted(expected.files)
            first = choose.sample(paths, len(paths) // 2)
            bodies = {os.path.join(os.fsencode(mount.path), path): content(expected.files[path]) for path in first}
            half = len(bodies) // 2
            map_here_and_there(dict(list(bodies.items())[:half]), choose)
            for path, data in list(bodies.items())[half:]:
                read_here_and_there(path, data, choose)
            files, folders = walk(mount)
            assert files == expected.files.keys()
            assert folders == expected.folders
            sums = {path: hashlib.sha256(content(key)).hexdigest() for path, key in expected.files.items()}
            assert digests(mount) == sums
            facts = mount.status()["facts"]["metadata"]
            assert facts["hidden_keys"] == len(expected.hidden)
            assert facts["hidden_examples"] == [str(key) for key in sorted(expected.hidden)[:10]]


def test_a_bucket_of_odd_keys_is_shown_as_the_rules_say(channel: str) -> None:
    _check(channel)
