"""What a page says of each directory."""

from __future__ import annotations

import pytest

from ossmount.metadata.pages import Stretch, split_page
from ossmount.model import ListPage, ObjectInfo


def page(*keys: bytes, prefixes: tuple[bytes, ...] = (), more: bool = False) -> ListPage:
    return ListPage([ObjectInfo(key, 1, 2, "e") for key in keys], list(prefixes), "token" if more else "")


def shape(stretch: Stretch) -> tuple[bytes, bytes, bytes | None, list[bytes], list[bytes]]:
    return stretch.prefix, stretch.low, stretch.high, [name for name, _ in stretch.files], stretch.directories


def test_a_complete_flat_page() -> None:
    split = split_page(b"", b"", b"", page(b"a", b"d/", b"d/e/x", b"d/y", b"z"))
    assert [shape(s) for s in split.stretches] == [
        (b"", b"", None, [b"a", b"z"], [b"d"]),
        (b"d/", b"", None, [b"y"], [b"e"]),
        (b"d/e/", b"", None, [b"x"], []),
    ]
    assert split.hidden == [] and split.last is None


def test_a_flat_page_that_is_cut_off() -> None:
    split = split_page(b"", b"", b"", page(b"a", b"d/e/x", more=True))
    assert [shape(s) for s in split.stretches] == [
        (b"", b"", b"d/\0", [b"a"], [b"d"]),
        (b"d/", b"", b"e/\0", [], [b"e"]),
        (b"d/e/", b"", b"x\0", [b"x"], []),
    ]
    assert split.last == b"d/e/x"


def test_a_flat_page_that_goes_on_inside_directories() -> None:
    split = split_page(b"", b"", b"d/e/x", page(b"d/e/y", b"d/z"))
    assert [shape(s) for s in split.stretches] == [
        (b"", b"d/\0", None, [], [b"d"]),
        (b"d/", b"e/\0", None, [b"z"], [b"e"]),
        (b"d/e/", b"x\0", None, [b"y"], []),
    ]


def test_what_a_directory_does_not_show_any_more_is_known_to_be_gone() -> None:
    split = split_page(b"", b"", b"d/e/x", page(b"f"))
    assert [shape(s) for s in split.stretches] == [
        (b"", b"d/\0", None, [b"f"], []),
        (b"d/", b"e/\0", None, [], []),
        (b"d/e/", b"x\0", None, [], []),
    ]


def test_a_page_with_a_delimiter() -> None:
    split = split_page(b"p/", b"/", b"p/b", page(b"p/b-", prefixes=(b"p/b/", b"p/c/"), more=True))
    assert [shape(s) for s in split.stretches] == [(b"p/", b"b\0", b"c/\0", [b"b-"], [b"b", b"c"])]


def test_keys_that_no_path_can_show() -> None:
    split = split_page(b"", b"", b"", page(b"//x", b"a/../c", b"a//b", b"b/\xff", b"n\0"))
    assert split.hidden == [b"//x", b"a/../c", b"a//b", b"b/\xff", b"n\0"]
    assert [s.prefix for s in split.stretches] == [b"", b"a/", b"b/"]


@pytest.mark.parametrize("prefixes", [(b"p/b/", b"p/a/"), (b"x/",), (b"p/b",), (b"p/",)])
def test_prefixes_that_no_store_should_give(prefixes: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="listing of"):
        split_page(b"p/", b"/", b"", page(prefixes=prefixes))


@pytest.mark.parametrize(
    "answer",
    [page(prefixes=(b"d/",)), page(b"b", b"a"), page(b"a", b"a"), page(b"x"), page(b"b", more=False), page(more=True)],
    ids=["prefix without delimiter", "out of order", "twice", "outside", "before the start", "endless"],
)
def test_answers_that_no_store_should_give(answer: ListPage) -> None:
    prefix, start = (b"p/", b"") if answer.objects and answer.objects[0].key == b"x" else (b"", b"b" if answer.objects else b"")
    with pytest.raises(ValueError, match="listing of"):
        split_page(prefix, b"", start, answer)
