"""The folder behind the server: any key, atomic replacement, restarts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossmount.emulator.errors import OssError
from ossmount.emulator.listing import list_page
from ossmount.emulator.store import Store
from ossmount.emulator.values import Bucket

ODD_KEYS = [
    b"a",
    b"a/",
    b"a/b",
    b"a//b",
    b"a/./b",
    b"a/../b",
    b".",
    b"..",
    b"control\x01\x1f\n\r\t",
    b"nul\x00byte",
    "ünïcode/日本語/🙂".encode(),
    b"space and + and % and ?&=#",
    b"'\"<>&",
    b"x" * 1023,
    b"deep/" * 200,
]


def pages(bucket: Bucket, prefix: bytes = b"", delimiter: bytes = b"", size: int = 3) -> tuple[list[bytes], list[bytes]]:
    """All pages of a listing put together: keys and common prefixes."""
    keys: list[bytes] = []
    prefixes: list[bytes] = []
    after = b""
    while True:
        page = list_page(bucket.cursor(), prefix=prefix, delimiter=delimiter, after=after, size=size)
        assert len(page.objects) + len(page.prefixes) <= size
        keys += [record.key for record in page.objects]
        prefixes += page.prefixes
        if not page.truncated:
            return keys, prefixes
        after = page.last


def test_odd_keys_are_kept_exactly_and_survive_a_restart(tmp_path: Path) -> None:
    first = Store(tmp_path)
    for number, key in enumerate(ODD_KEYS):
        first.put("bucket", key, b"%d" % number, headers={"x-oss-meta-number": str(number)}, mtime=1000 + number)
    first.put_symlink("bucket", b"link", b"a//b")
    before = first.find("bucket", b"a")
    first.close()

    again = Store(tmp_path)
    try:
        assert again.keys("bucket") == sorted([*ODD_KEYS, b"link"])
        assert [again.get("bucket", key) for key in ODD_KEYS] == [b"%d" % number for number in range(len(ODD_KEYS))]
        assert again.find("bucket", b"a") == before
        link = again.find("bucket", b"link")
        assert link is not None and link.target == b"a//b"
    finally:
        again.close()


@pytest.mark.parametrize("key", [b"", b"x" * 1024, b"/a", b"\\a", b"\xff"])
def test_what_is_no_key_is_refused(tmp_path: Path, key: bytes) -> None:
    store = Store(tmp_path)
    try:
        with pytest.raises(OssError, match="InvalidObjectName"):
            store.put("bucket", key, b"")
    finally:
        store.close()


def test_a_reader_keeps_the_version_it_opened(tmp_path: Path) -> None:
    store = Store(tmp_path)
    try:
        store.put("bucket", b"key", b"old")
        found = store.bucket("bucket").open(b"key")
        assert found is not None
        record, fd = found
        store.put("bucket", b"key", b"newer")
        assert os.pread(fd, 100, 0) == b"old" and record.size == 3
        os.close(fd)
        assert store.get("bucket", b"key") == b"newer"
        store.delete("bucket", b"key")
        assert list(tmp_path.glob("bucket/data/*/*")) == []
    finally:
        store.close()


def test_many_keys_share_one_body(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = [b"%03d" % number for number in range(100)]
    try:
        store.put("bucket", b"050", b"before")
        store.put_many("bucket", keys, b"data")
        assert store.keys("bucket") == keys and store.get("bucket", b"050") == b"data"
        for key in keys[1:]:
            store.delete("bucket", key)
        assert store.get("bucket", b"000") == b"data"
        assert len(list(tmp_path.glob("bucket/data/*/*"))) == 1
        store.put("bucket", b"000", b"after")
        assert len(list(tmp_path.glob("bucket/data/*/*"))) == 1
    finally:
        store.close()


def test_bodies_of_a_killed_server_are_removed_at_the_next_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("bucket", b"key", b"data")
    half = store.writable("bucket").new_body()
    half.write(b"half")
    half.close()
    store.close()
    again = Store(tmp_path)
    try:
        assert len(list(tmp_path.glob("bucket/data/*/*"))) == 1
        assert again.get("bucket", b"key") == b"data"
    finally:
        again.close()


def test_a_folder_is_served_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    try:
        with pytest.raises(ValueError, match="another process"):
            Store(tmp_path)
    finally:
        store.close()


def test_a_folder_of_plain_files_is_not_taken_for_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(ValueError, match="--plain"):
        Store(tmp_path)


keys_strategy = st.lists(
    st.text("ab/.\u00e9", min_size=1, max_size=6).filter(lambda key: key[0] != "/"), max_size=25, unique=True
)


@settings(deadline=None, max_examples=30)
@given(
    keys=keys_strategy,
    prefix=st.text("ab/", max_size=3),
    delimiter=st.sampled_from(["", "/", "a/", "b"]),
    size=st.integers(1, 7),
)
def test_listings_agree_with_a_model(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], prefix: str, delimiter: str, size: int
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    try:
        store.create_bucket("bucket")
        for key in keys:
            store.put("bucket", key.encode(), b"")
        found = pages(store.bucket("bucket"), prefix.encode(), delimiter.encode(), size)
    finally:
        store.close()
    expected_keys, expected_prefixes = set(), set()
    for key in keys:
        if key.startswith(prefix):
            head, mark, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if mark:
                expected_prefixes.add((prefix + head + mark).encode())
            else:
                expected_keys.add(key.encode())
    assert found == (sorted(expected_keys), sorted(expected_prefixes))


def test_a_plain_folder_is_listed_in_the_order_of_keys(tmp_path: Path) -> None:
    names = ["a", "a.b/x", "a-/y", "b/c/d", "b/c.d", "b/cc/e", "z"]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "photos" / "link").symlink_to("a")
    (tmp_path / "photos" / "folder").symlink_to("b")
    (tmp_path / "photos" / "outside").symlink_to("/etc/hostname")
    store = Store(tmp_path, plain=True)
    expected = sorted(name.encode() for name in [*names, "link"])
    assert store.names() == ["photos"]
    assert pages(store.bucket("photos")) == (expected, [])
    assert pages(store.bucket("photos"), delimiter=b"/", size=2) == ([b"a", b"link", b"z"], [b"a-/", b"a.b/", b"b/"])
    assert pages(store.bucket("photos"), prefix=b"b/c", delimiter=b"/") == ([b"b/c.d"], [b"b/c/", b"b/cc/"])
    assert store.get("photos", b"b/c/d") == b"b/c/d" and store.get("photos", b"link") == b"a"
    for hidden in (b"folder/c.d", b"outside", b"../photos/a", b"b", b"b//c.d", b"missing", b"a/b"):
        assert store.get("photos", hidden) is None
    before = store.find("photos", b"a")
    (tmp_path / "photos" / "a").write_bytes(b"changed")
    after = store.find("photos", b"a")
    assert before is not None and after is not None and before.etag != after.etag
    with pytest.raises(OssError, match="read-only"):
        store.put("photos", b"new", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    store.close()
