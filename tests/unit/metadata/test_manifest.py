"""Mounts of exactly the keys of a list."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from ossmount.errors import NotFound
from ossmount.metadata.manifest import Manifest, ManifestError, ManifestLister, digest, read_manifest
from ossmount.model import Kind
from ossmount.oss.several import SeveralBuckets
from tests.unit.metadata.fake_lister import FakeLister, running, walk


@pytest.mark.parametrize(
    ("name", "text", "keys"),
    [
        ("list", "b/2\na/1\n\na/1\r\n b\n", [b" b", b"a/1", b"b/2"]),
        ("list", "\ufeffa,b\n#c\n", [b"#c", b"a,b"]),
        ("list", "oss://bucket/a/1\noss://bucket.oss-cn-beijing.aliyuncs.com/b\n", [b"a/1", b"b"]),
        (
            "list.jsonl",
            '{"source": "a"}\n{"key": "b", "size": 3}\n{"data": {"source": "oss://bucket/c"}}\n',
            [b"a", b"b", b"c"],
        ),
        ("list", "{'data': {'source': 'oss://bucket.host/a b'}}\n{'data': {'source': ''}}\n", [b"a b"]),
        ("list.csv", 'label,uri\n1,oss://bucket/a\n2,"oss://bucket/b,c"\n3\n', [b"a", b"b,c"]),
        ("list.csv", "a,1\nb,2\n", [b"a", b"b"]),
        ("list", "\u4e2d\n", ["\u4e2d".encode()]),
    ],
)
def test_the_forms_of_a_list(tmp_path: Path, name: str, text: str, keys: list[bytes]) -> None:
    (tmp_path / name).write_text(text, "utf-8", newline="")
    assert read_manifest(tmp_path / name, "bucket", b"") == Manifest(("bucket",), keys)


@pytest.mark.parametrize(
    ("text", "prefix", "said"),
    [
        (b"", b"", "names no key"),
        (b"\n{'source': ''}\n", b"", "names no key"),
        (b"oss://other/b\n", b"", r"names the bucket 'other', .* mount oss://other"),
        (b"oss://other/b\na/1\n", b"a/", "names several buckets"),
        (b"oss:///b\n", b"", "line 1 names the bucket ''"),
        (b"oss://BIG/b\n", b"", "line 1 names the bucket 'BIG'"),
        (b"a\noss://bucket.oss-cn-hangzhou.aliyuncs.com/b\n", b"", "line 2 lies at oss-cn-hangzhou.aliyuncs.com, this"),
        (b"a/1\nb/1\n", b"a/", r"line 2: b/1 does not lie below a/"),
        (b"a\n{broken\n", b"", "line 2 is neither JSON nor"),
        (b"{'size': 3}\n", b"", "line 1 has none of source"),
        (b"{'source': 3}\n", b"", "line 1 has none of source"),
        (b"{'source': __import__('os').getcwd()}\n", b"", "line 1 is neither"),
        (b"x" * 1024, b"", "line 1 is no key"),
        (b"oss://bucket\n", b"", "line 1 is no key"),
        (b"\xff\n", b"", "is not UTF-8"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, text: bytes, prefix: bytes, said: str) -> None:
    (tmp_path / "list").write_bytes(text)
    with pytest.raises(ManifestError, match=said):
        read_manifest(tmp_path / "list", "bucket", prefix, "https://oss-cn-beijing.aliyuncs.com")


def test_several_buckets_are_folders(tmp_path: Path) -> None:
    lines = ["plain", "oss://bucket/a", "oss://bucket-x/a", "{'data': {'source': 'oss://other.oss-cn-beijing.aliyuncs.com/a'}}"]
    (tmp_path / "list").write_text("\n".join(lines))
    found = read_manifest(tmp_path / "list", "bucket", b"")
    assert found.buckets == ("bucket", "bucket-x", "other")
    assert found.keys == [b"bucket-x/a", b"bucket/a", b"bucket/plain", b"other/a"]


@pytest.mark.parametrize(
    ("mounted", "named", "same"),
    [
        ("https://oss-cn-beijing.aliyuncs.com", "oss-cn-beijing-internal.aliyuncs.com", True),
        ("https://oss-cn-beijing-internal.aliyuncs.com", "oss-cn-beijing.aliyuncs.com", True),
        ("https://oss-accelerate.aliyuncs.com", "oss-cn-beijing.aliyuncs.com", True),
        ("http://127.0.0.1:9000", "oss-cn-beijing.aliyuncs.com", True),
        ("https://data.example.com", "oss-cn-beijing.aliyuncs.com", True),
        ("https://oss-cn-beijing.aliyuncs.com", "OSS-CN-BEIJING.aliyuncs.com", True),
        ("https://bucket.oss-cn-beijing.aliyuncs.com:443/", "oss-cn-beijing2.aliyuncs.com", False),
        ("oss-cn-beijing.aliyuncs.com", "oss-us-west-1.aliyuncs.com", False),
    ],
)
def test_the_endpoint_of_a_source_is_that_of_the_mount(tmp_path: Path, mounted: str, named: str, same: bool) -> None:
    (tmp_path / "list").write_text(f"oss://bucket.{named}/a\n")
    if same:
        assert read_manifest(tmp_path / "list", "bucket", b"", mounted).keys == [b"a"]
        return
    with pytest.raises(ManifestError, match="line 1 lies at"):
        read_manifest(tmp_path / "list", "bucket", b"", mounted)


def test_a_missing_list(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        read_manifest(tmp_path / "none", "bucket", b"")


def test_two_lists_have_two_digests() -> None:
    assert len({digest([b"a", b"b"]), digest([b"ab"]), digest([b"a"])}) == 3


def parted(keys: Sequence[bytes], page_limit: int = 5) -> SeveralBuckets:
    """These keys in buckets of their own, each named by the first component; one bucket with nothing in it."""
    buckets = {key.split(b"/")[0] for key in keys} | {b"zzz"}
    made = {
        bucket.decode(): FakeLister([key[len(bucket) + 1 :] for key in keys if key.startswith(bucket + b"/")], 0.0, page_limit)
        for bucket in sorted(buckets, key=lambda name: name + b"/")
    }
    return SeveralBuckets(made)


@pytest.mark.parametrize("page", [1, 2, 7, 1000])
@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("several", [False, True])
def test_it_lists_as_a_bucket_with_these_keys_alone_would(page: int, share: float, several: bool) -> None:
    chance = random.Random(page * 1000 + int(share * 100))
    there = [b"%s/%s%d" % (a, b, i) for a in (b"a", b"a-b", b"c/d") for b in (b"", b"x/", b"y-") for i in range(40)]
    wanted = sorted({key for key in there if chance.random() < share} | {b"a/missing", b"zzz/missing", b"a"})

    async def main() -> None:
        real = FakeLister(there)
        alone = FakeLister([key for key in wanted if key in real.objects])
        lister = ManifestLister(parted(there) if several else real, wanted)
        for prefix in (b"", b"a/", b"c/", b"none"):
            starts = [b"", b"a/x/", b"a-b/9", b"c/d/x/3", b"zz"]
            for start in (start for start in starts if start.startswith(prefix) or not start):
                objects: list[bytes] = []
                after, token = start, ""
                while True:
                    answer = await lister.list_page(prefix, start_after=after, token=token, max_keys=page)
                    assert len(answer.objects) <= page
                    objects += [info.key for info in answer.objects]
                    assert all(info == real.objects[info.key] for info in answer.objects)
                    token = answer.next_token
                    if not token:
                        break
                full = await alone.list_page(prefix, start_after=start)
                assert objects == [info.key for info in full.objects]
            found: list[bytes] = []
            token = ""
            while found == [] or token:
                answer = await lister.list_page(prefix, delimiter=b"/", token=token, max_keys=page)
                assert len(answer.objects) + len(answer.prefixes) <= page
                found += [*answer.prefixes, *(info.key for info in answer.objects)]
                token = answer.next_token
                if not token:
                    break
            full = await alone.list_page(prefix, delimiter=b"/")
            assert sorted(found) == sorted([*full.prefixes, *(info.key for info in full.objects)])
        with pytest.raises(NotFound):
            await lister.head(there[0] + b"not there")

    trio.run(main)


def test_a_mount_of_a_list(tmp_path: Path) -> None:
    there = [b"train/%03d/%05d" % (i // 100, i) for i in range(5_000)] + [b"other/%d" % i for i in range(3_000)]
    wanted = sorted([*there[100:4_000:2], b"other/7", b"train/missing", b"train/none/missing"])

    async def main() -> None:
        real = FakeLister(there)
        async with running(ManifestLister(real, wanted), tmp_path) as namespace:  # type: ignore[arg-type]
            found = await walk(namespace)
            keys = {entry.node.key for entry in found.values() if entry.node.kind is Kind.FILE}
            assert keys == {key for key in wanted if key in real.objects}
            assert b"train/050" not in found
        assert real.lists + real.heads < 60

    trio.run(main)
