from __future__ import annotations

from pathlib import Path

import pytest

from ossmount.options.places import ObjectPlace, parse_place


def test_files_and_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_place("file") == tmp_path / "file"
    assert parse_place("/a/b") == Path("/a/b")
    assert parse_place("oss://my-bucket/a//é") == ObjectPlace("my-bucket", "a//é".encode())
    assert str(parse_place("OSS://my-bucket/a/é")) == "oss://my-bucket/a/é"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://bucket/key", "oss://BUCKET/KEY"),
        ("oss://bucket", "name one object"),
        ("oss://bucket/", "name one object"),
        ("oss://bucket/folder/", "name one object"),
        ("oss://bucket/" + "x" * 1024, "name one object"),
        ("oss://Bucket/key", "not a bucket name"),
        ("oss://bucket.oss-cn-x.aliyuncs.com/key", "write oss://bucket/key and --endpoint oss-cn-x.aliyuncs.com"),
        ("oss://bucket/\udcff", "UTF-8"),
        ("a\0b", "NUL"),
    ],
)
def test_what_is_no_place(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_place(text)
