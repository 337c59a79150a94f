import pytest

from ossmount.options.settings import UsageError
from ossmount.options.source import Source, parse_source


@pytest.mark.parametrize(
    ("text", "source", "shown"),
    [
        ("oss://bucket", Source("bucket", b""), "oss://bucket"),
        ("oss://bucket/", Source("bucket", b""), "oss://bucket"),
        ("OSS://bucket/a", Source("bucket", b"a/"), "oss://bucket/a"),
        ("oss://bucket/a/b/", Source("bucket", b"a/b/"), "oss://bucket/a/b"),
        ("oss://bucket/ü x", Source("bucket", "ü x/".encode()), "oss://bucket/ü x"),
    ],
)
def test_sources(text: str, source: Source, shown: str) -> None:
    assert parse_source(text) == source
    assert str(source) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bucket", "write oss://BUCKET"),
        ("s3://bucket", "write oss://BUCKET"),
        ("oss://", "not a bucket name"),
        ("oss://Bucket", "not a bucket name"),
        ("oss://ab", "not a bucket name"),
        ("oss://bucket.oss-cn-hangzhou.aliyuncs.com/x", "--endpoint oss-cn-hangzhou.aliyuncs.com"),
        ("oss://bucket/" + "x" * 1023, "longer"),
    ],
)
def test_what_is_no_source(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_source(text)
