"""Several buckets as one."""

from __future__ import annotations

import pytest
import trio

from ossmount.config import SourceConfig
from ossmount.errors import NotFound
from ossmount.oss.several import MOST, SeveralBuckets, merged, sources_of
from tests.unit.metadata.fake_lister import FakeLister


def test_each_bucket_has_a_source_in_the_order_of_its_keys() -> None:
    made = sources_of(
        SourceConfig("a", prefix=b"", endpoint="https://oss-cn-x.aliyuncs.com", region="cn-x"), ["data", "data-x"]
    )
    assert list(made) == ["data-x", "data"]
    assert [source.bucket for source in made.values()] == ["data-x", "data"]
    assert {source.region for source in made.values()} == {"cn-x"}


@pytest.mark.parametrize(
    ("endpoint", "buckets", "said"),
    [
        ("https://files.example.com", ["one", "two"], "leads to one bucket only"),
        ("https://oss-cn-x.aliyuncs.com", ["one", "Two"], "no bucket name"),
        ("https://oss-cn-x.aliyuncs.com", [f"bucket-{i}" for i in range(MOST + 1)], "16 are the most"),
    ],
)
def test_what_cannot_be_mounted_together(endpoint: str, buckets: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sources_of(SourceConfig("one", endpoint=endpoint), buckets)


def test_heads_and_links_belong_to_their_bucket() -> None:
    one, two = FakeLister([b"a/b"]), FakeLister([b"a/b", b"link"])
    two.targets[b"link"] = b"a/b"
    together = SeveralBuckets({"one": one, "two": two})

    async def main() -> None:
        assert (await together.head(b"one/a/b")).key == b"one/a/b"
        assert await together.symlink_target(b"two/link") == b"two/a/b"
        for key in (b"one", b"one/", b"three/a", b"one/link", b"\xff/a"):
            with pytest.raises(NotFound):
                await together.head(key)

    trio.run(main)
    assert [request[:2] for request in one.requests] == [("HEAD", b"a/b"), ("HEAD", b"link")]


def test_facts_are_added_up() -> None:
    one = {"requests": {"LIST": 2, "HEAD": 1}, "retries": 1, "pids": [3], "latency_ms": 4.5}
    two = {"requests": {"LIST": 3}, "retries": 0, "pids": [7, 8], "latency_ms": None}
    wanted = {"requests": {"LIST": 5, "HEAD": 1}, "retries": 1, "pids": [3, 7, 8], "latency_ms": 4.5}
    assert merged([one, two]) == wanted
    assert merged([two, two])["latency_ms"] is None
