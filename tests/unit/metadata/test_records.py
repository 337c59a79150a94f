"""The records of many objects at once are those of each on its own."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from ossmount.metadata import keys, records
from ossmount.metadata.records import Location
from ossmount.model import ObjectInfo

NAMES = st.lists(st.binary(min_size=1, max_size=300), max_size=20, unique=True)
KINDS = st.sampled_from((("Normal", "Standard"), ("Symlink", "Standard"), ("Normal", "IA"), ("Appendable", "Archive")))


@hypothesis.settings(deadline=None)
@hypothesis.given(NAMES, st.data(), st.integers(1, 1 << 60), st.integers(1, 1 << 60), st.floats(0, 1e10))
def test_records_of_many_objects(names: list[bytes], data: st.DataObject, first: int, parent: int, time: float) -> None:
    files = [
        (name, ObjectInfo(b"d/" + name, number, -number, f"E{number}" * number, *data.draw(KINDS)))
        for number, name in enumerate(names)
    ]
    children = records.new_children(first, parent, files, time)
    nodes = records.new_nodes(first, parent, files)
    for number, (name, info) in enumerate(files):
        child = records.child_of(first + number, info, time)
        assert children[number] == (records.child_key(parent, name, False), records.pack_child(child))
        assert nodes[number] == (records.pack_id(first + number), records.pack_location(Location(parent, False, name)))
    assert len(children) == len(nodes) == len(files)


NAME = (
    st.binary(max_size=300) | st.text(max_size=90).map(str.encode) | st.sampled_from((b".", b"..", b"", b"a\0", b"...", b".a"))
)


@hypothesis.settings(deadline=None)
@hypothesis.given(st.lists(NAME.filter(lambda name: b"/" not in name), min_size=1, max_size=6))
def test_names_that_can_all_be_shown(names: list[bytes]) -> None:
    assert keys.all_showable(names) is all(map(keys.showable, names))
