"""The lister against a model that does it the slow and obvious way."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.listing import FixedIndex, Index, Query, SyntheticIndex, find, nginx_etag, page, render, synthetic

KEYS = st.sets(st.text(alphabet="ab-/", min_size=1, max_size=6).map(str.encode), max_size=25)
PARTS = st.text(alphabet="ab-/", max_size=3).map(str.encode)


class Listed(NamedTuple):
    keys: list[bytes]
    prefixes: list[bytes]


def model(keys: set[bytes], prefix: bytes, delimiter: bytes) -> list[tuple[bytes, bool]]:
    """Every name of a listing in order, and whether it is a common prefix."""
    names: dict[bytes, bool] = {}
    for key in keys:
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            names[key if cut < 0 else key[: cut + len(delimiter)]] = cut >= 0
    return sorted(names.items())


def parse(document: bytes) -> tuple[Listed, dict[str, str]]:
    root = ElementTree.fromstring(document)
    decode = unquote_to_bytes if root.findtext("EncodingType") == "url" else str.encode
    keys = [decode(each.findtext("Key") or "") for each in root.findall("Contents")]
    prefixes = [decode(each.findtext("Prefix") or "") for each in root.findall("CommonPrefixes")]
    fields = {each.tag: decode(each.text or "").decode() for each in root if not len(each)}
    return Listed(keys, prefixes), fields


def listed_by_pages(index: Index, query: Query) -> list[tuple[bytes, bool]]:
    """The whole listing, page after page, as a client asks for it."""
    names: list[tuple[bytes, bool]] = []
    while True:
        found, fields = parse(render(index, "bucket", query, page(index, query)))
        names += sorted([(key, False) for key in found.keys] + [(prefix, True) for prefix in found.prefixes])
        assert len(found.keys) + len(found.prefixes) <= query.max_keys
        if fields["IsTruncated"] == "false":
            return names
        if query.version == 2:
            assert int(fields["KeyCount"]) == query.max_keys
            query = query._replace(after=bytes.fromhex(fields["NextContinuationToken"]))
        else:
            query = query._replace(after=fields["NextMarker"].encode())


@given(
    keys=KEYS,
    prefix=PARTS,
    delimiter=st.sampled_from([b"", b"/", b"-"]),
    max_keys=st.integers(1, 5),
    version=st.sampled_from([1, 2]),
    url=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_pages_give_every_name_once_in_order(
    keys: set[bytes], prefix: bytes, delimiter: bytes, max_keys: int, version: int, url: bool
) -> None:
    index = FixedIndex((key, 10, 20) for key in keys)
    query = Query(version, prefix, delimiter, max_keys=max_keys, url=url)
    assert listed_by_pages(index, query) == model(keys, prefix, delimiter)


@given(keys=KEYS, prefix=PARTS, after=PARTS)
@settings(deadline=None, max_examples=50)
def test_a_listing_begins_behind_start_after(keys: set[bytes], prefix: bytes, after: bytes) -> None:
    index = FixedIndex((key, 10, 20) for key in keys)
    expected = [(key, False) for key in sorted(keys) if key.startswith(prefix) and key > after]
    assert listed_by_pages(index, Query(2, prefix, after=after, max_keys=1000)) == expected


def test_a_listing_tells_size_time_and_the_etag_that_nginx_gives() -> None:
    index = FixedIndex([(b"folder/key", 255, 1_700_000_000)])
    root = ElementTree.fromstring(render(index, "bucket", Query(2), page(index, Query(2))))
    contents = root.find("Contents")
    assert contents is not None
    assert contents.findtext("ETag") == '"6553f100-ff"' == f'"{nginx_etag(1_700_000_000, 255)}"'
    assert contents.findtext("LastModified") == "2023-11-14T22:13:20.000Z"
    assert contents.findtext("Size") == "255"


def test_an_empty_page_is_never_truncated() -> None:
    index = FixedIndex([(b"a", 1, 1)])
    assert page(index, Query(2, max_keys=0)).last == b""


def test_keys_that_need_encoding_are_refused() -> None:
    with pytest.raises(ValueError, match="characters"):
        FixedIndex([(b"a b", 1, 1)])


@pytest.mark.parametrize("nested", [False, True])
def test_a_synthetic_bucket_lists_what_its_formula_says(nested: bool) -> None:
    index = SyntheticIndex(2_500, nested=nested)
    keys = {index.key(number) for number in range(2_500)}
    assert sorted(keys) == [index.key(number) for number in range(2_500)]
    assert listed_by_pages(index, Query(2, max_keys=1000)) == model(keys, b"", b"")
    assert listed_by_pages(index, Query(1, b"data/", b"/", max_keys=1000)) == model(keys, b"data/", b"/")


def test_a_synthetic_bucket_of_ten_million_keys_is_searched_not_walked() -> None:
    index = synthetic("synthetic-nested-10000000")
    assert index is not None and len(index) == 10_000_000
    key = index.key(7_654_321)
    assert find(index, key) == 7_654_321
    assert find(index, key + b"x") is None
    found = page(index, Query(2, after=key, max_keys=1000))
    assert found.runs == [(7_654_322, 7_655_322)]
    folders = page(index, Query(2, b"data/", b"/", max_keys=1000))
    assert folders.prefixes == [b"data/%03d/" % number for number in range(100)]


@pytest.mark.parametrize("name", ["bench", "synthetic-flat", "synthetic-round-5", "synthetic-flat-x"])
def test_other_names_are_no_synthetic_buckets(name: str) -> None:
    assert synthetic(name) is None
