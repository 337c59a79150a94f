"""Every key that can be shown has exactly one path, and every path at most one key."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ossmount.metadata import keys
from ossmount.metadata.keys import SUFFIX
from ossmount.model import Kind

names = st.one_of(
    st.builds(
        lambda base, count: base + SUFFIX * count,
        st.sampled_from([b"a", b"b", b"a-x", b"a.", b".", b"..", "é".encode(), b"x" * 250, b"x" * 255, b"x" * 256]),
        st.integers(0, 3),
    ),
    st.text(min_size=1, max_size=90).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=20),
)


@settings(deadline=None, derandomize=True, max_examples=120)
@given(st.sets(st.tuples(names, st.booleans()), max_size=8))
def test_shown_names_are_unique_and_lead_back(entries: set[tuple[bytes, bool]]) -> None:
    shown: dict[bytes, tuple[bytes, bool]] = {}
    for stored, directory in entries:
        if not keys.showable(stored):
            continue
        shadowed = not directory and (stored, True) in entries
        name = keys.shown_name(stored, Kind.DIRECTORY if directory else Kind.FILE, shadowed=shadowed)
        if name is None:
            assert stored.endswith(SUFFIX) or len(stored) > 255 - len(SUFFIX)
            continue
        assert name not in shown
        shown[name] = (stored, directory)
        assert len(name) <= 255 and b"/" not in name and b"\0" not in name and name not in (b".", b"..", b"")
        target = keys.target_of(name)
        assert target is not None
        assert target.stored == stored
        assert target.directory if directory else target.file
        if target.directory and target.file and not directory:
            assert (stored, True) not in entries
        if target.shadowed:
            assert (stored, True) in entries


@settings(deadline=None, derandomize=True, max_examples=120)
@given(names)
def test_names_that_no_file_system_has_are_never_targets(name: bytes) -> None:
    try:
        name.decode("utf-8")
        valid = 0 < len(name) <= 255 and name not in (b".", b"..") and b"\0" not in name and b"/" not in name
    except UnicodeDecodeError:
        valid = False
    assert keys.showable(name) == valid
    if not valid:
        assert keys.target_of(name) is None


@settings(deadline=None, derandomize=True, max_examples=120)
@given(st.text(min_size=1, max_size=30), st.lists(st.text(min_size=1, max_size=30), max_size=20))
def test_start_before_includes_the_key_and_little_else(key: str, others: list[str]) -> None:
    def utf8(text: str) -> bytes:
        return text.encode("utf-8", "replace")

    wanted = utf8(key)
    start = keys.start_before(wanted)
    assert start < wanted
    start.decode("utf-8")
    for other in map(utf8, others):
        if start < other < wanted:
            assert other.startswith(start)  # only what goes on behind the greatest character


@settings(deadline=None, derandomize=True, max_examples=120)
@given(st.binary(min_size=1, max_size=12), st.binary(min_size=1, max_size=12))
def test_blocked_names_are_those_whose_directory_comes_later(position: bytes, name: bytes) -> None:
    name = name.replace(b"/", b"")
    position = position.split(b"/")[0] + b"\0"
    blocked = list(keys.blocked_names(position))
    assert blocked == sorted(blocked, key=len)
    if keys.showable(name) and name < position and name + b"/" >= position:
        assert name in blocked
    for each in blocked:
        assert each < position <= each + b"/"


def test_examples() -> None:
    assert keys.shown_name(b"a", Kind.FILE) == b"a"
    assert keys.shown_name(b"a", Kind.FILE, shadowed=True) == b"a.~file~"
    assert keys.shown_name(b"a.~file~", Kind.FILE) == b"a.~file~.~file~.~file~"
    assert keys.shown_name(b"a.~file~", Kind.DIRECTORY) == b"a.~file~.~file~"
    assert keys.position_of(b"a/b/c") == b"a/"
    assert keys.position_of(b"a") == b"a"
    assert keys.start_before(b"ab") == "aa\U0010ffff".encode()
    assert keys.start_before("\ue000".encode()) == "\ud7ff\U0010ffff".encode()
