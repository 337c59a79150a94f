"""Every call that oss2 has, through oss2 itself, with each of its signatures and both forms of address."""

from __future__ import annotations

import datetime
import urllib.request
from typing import Any

import fastcrc
import oss2
import pytest

from ossmount.emulator.server import EmulatedServer

# oss2 signs V4 with datetime.utcnow(), which Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

PART = 100 << 10


@pytest.fixture(params=["v1-path", "v4-host"])
def client(request: pytest.FixtureRequest, server: EmulatedServer, session: Any) -> Any:
    """A bucket; "host" addresses it as BUCKET.ENDPOINT, through the server as a proxy since no DNS knows that name."""
    signature, style = request.param.split("-")
    auth = oss2.make_auth("test-id", "test-secret", signature)
    if style == "path":
        return oss2.Bucket(auth, server.url, "bucket", region="cn-hangzhou", session=session)
    endpoint, proxies = "http://oss-cn-hangzhou.aliyuncs.com", {"http": server.url}
    return oss2.Bucket(auth, endpoint, "bucket", region="cn-hangzhou", proxies=proxies, session=session)


@pytest.mark.parametrize("signature", ["v1", "v4"])
def test_service_and_bucket_calls(server: EmulatedServer, session: Any, signature: str) -> None:
    auth = oss2.make_auth("test-id", "test-secret", signature)
    service = oss2.Service(auth, server.url, region="cn-hangzhou", session=session)
    bucket = oss2.Bucket(auth, server.url, "another", region="cn-hangzhou", session=session)
    bucket.create_bucket(oss2.BUCKET_ACL_PUBLIC_READ, oss2.models.BucketCreateConfig(oss2.BUCKET_STORAGE_CLASS_IA))
    assert [found.name for found in oss2.BucketIterator(service)] == ["another", "bucket"]
    assert [found.name for found in service.list_buckets(prefix="an").buckets] == ["another"]
    first = service.list_buckets(max_keys=1)
    assert first.is_truncated and first.next_marker == "another"
    info = bucket.get_bucket_info()
    assert (info.name, info.storage_class, info.acl.grant) == ("another", "IA", "public-read")
    assert bucket.get_bucket_location().location == "oss-local"
    bucket.put_object("a", b"12345")
    stat = bucket.get_bucket_stat()
    assert (stat.storage_size_in_bytes, stat.object_count, stat.multi_part_upload_count) == (5, 1, 0)
    assert bucket.get_bucket_acl().acl == "public-read"
    bucket.put_bucket_acl("private")
    assert bucket.get_bucket_acl().acl == "private"
    with pytest.raises(oss2.exceptions.ServerError) as failure:
        bucket.delete_bucket()
    assert (failure.value.status, failure.value.code) == (409, "BucketNotEmpty")
    bucket.delete_object("a")
    bucket.delete_bucket()
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        bucket.get_bucket_info()


def test_put_get_head_and_delete(client: Any) -> None:
    key, data = "folder one/ü+%&=日.txt", b"some data" * 1000
    put = client.put_object(key, data, headers={"Content-Type": "text/plain", "x-oss-meta-colour": "blue"})
    assert put.crc == fastcrc.crc64.xz(data)
    got = client.get_object(key)
    assert got.read() == data
    assert got.headers["x-oss-meta-colour"] == "blue"
    assert (got.content_type, got.etag, got.object_type) == ("text/plain", put.etag, "Normal")
    head = client.head_object(key)
    assert (head.content_length, head.etag, head.server_crc) == (len(data), put.etag, put.crc)
    meta = client.get_object_meta(key)
    assert (meta.content_length, meta.etag) == (len(data), put.etag)
    assert client.object_exists(key)
    client.delete_object(key)
    assert not client.object_exists(key)
    client.delete_object(key)  # of what is not there: no error
    with pytest.raises(oss2.exceptions.NoSuchKey):
        client.get_object(key)


def test_ranges_and_conditions(client: Any) -> None:
    client.put_object("key", b"0123456789")
    etag = client.head_object("key").etag
    assert client.get_object("key", byte_range=(2, 4)).read() == b"234"
    assert client.get_object("key", byte_range=(7, None)).read() == b"789"
    assert client.get_object("key", byte_range=(None, 3)).read() == b"789"
    assert client.get_object("key", byte_range=(5, 100)).read() == b"0123456789"
    standard = {"x-oss-range-behavior": "standard"}
    assert client.get_object("key", byte_range=(5, 100), headers=standard).read() == b"56789"
    with pytest.raises(oss2.exceptions.ServerError) as failure:
        client.get_object("key", byte_range=(10, 12), headers=standard)
    assert (failure.value.status, failure.value.code) == (416, "InvalidRange")
    assert client.get_object("key", headers={"If-Match": f'"{etag}"'}).read() == b"0123456789"
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        client.get_object("key", headers={"If-Match": '"0"'})
    with pytest.raises(oss2.exceptions.NotModified):
        client.get_object("key", headers={"If-None-Match": f'"{etag}"'})
    tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    with pytest.raises(oss2.exceptions.NotModified):
        client.get_object("key", headers={"If-Modified-Since": tomorrow.strftime("%a, %d %b %Y %H:%M:%S GMT")})
    override = client.get_object("key", params={"response-content-type": "a/b", "response-cache-control": "no-cache"})
    assert override.headers["Content-Type"] == "a/b" and override.headers["Cache-Control"] == "no-cache"


def test_both_listings(client: Any, server: EmulatedServer) -> None:
    keys = ["a", "a/1", "a/2", "b c/x\x01\n", "b c/ü", "d"]
    for key in keys:
        server.store.put("bucket", key.encode(), b"data", mtime=1_600_000_000)
    for iterator in (oss2.ObjectIterator, oss2.ObjectIteratorV2):
        assert [found.key for found in iterator(client, max_keys=2)] == keys
        grouped = [(found.key, found.is_prefix()) for found in iterator(client, delimiter="/", max_keys=1)]
        assert grouped == [("a", False), ("a/", True), ("b c/", True), ("d", False)]
        assert [found.key for found in iterator(client, prefix="b c/", delimiter="/")] == keys[3:5]
    first = next(iter(oss2.ObjectIteratorV2(client, fetch_owner=True)))
    assert (first.size, first.last_modified, first.type, first.storage_class) == (4, 1_600_000_000, "Normal", "Standard")
    assert first.etag == client.head_object("a").etag and first.owner.id
    assert [found.key for found in client.list_objects_v2(start_after="a/1", max_keys=1).object_list] == ["a/2"]
    assert [found.key for found in client.list_objects(marker="b c/ü").object_list] == keys[5:]


def test_copy_and_batch_delete(client: Any, server: EmulatedServer) -> None:
    client.put_object("from/ü", b"data", headers={"x-oss-meta-colour": "blue"})
    client.copy_object("bucket", "from/ü", "to")
    assert client.get_object("to").read() == b"data"
    assert client.head_object("to").headers["x-oss-meta-colour"] == "blue"
    client.copy_object("bucket", "to", "to", headers={"x-oss-metadata-directive": "REPLACE", "x-oss-meta-colour": "red"})
    assert client.head_object("to").headers["x-oss-meta-colour"] == "red"
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        client.copy_object("bucket", "to", "other", headers={"x-oss-copy-source-if-match": '"0"'})
    result = client.batch_delete_objects(["to", "from/ü", "missing"])
    assert sorted(result.deleted_keys) == ["from/ü", "missing", "to"]
    assert server.store.keys("bucket") == []


def test_append(client: Any) -> None:
    first = client.append_object("log", 0, b"one")
    assert first.next_position == 3
    second = client.append_object("log", 3, b"two", init_crc=first.crc)
    assert second.crc == fastcrc.crc64.xz(b"onetwo")
    assert client.get_object("log").read() == b"onetwo"
    head = client.head_object("log")
    assert head.object_type == "Appendable" and head.headers["x-oss-next-append-position"] == "6"
    with pytest.raises(oss2.exceptions.PositionNotEqualToLength) as failure:
        client.append_object("log", 1, b"three")
    assert failure.value.next_position == 6
    client.put_object("normal", b"")
    with pytest.raises(oss2.exceptions.ObjectNotAppendable):
        client.append_object("normal", 0, b"data")


def test_symlinks(client: Any) -> None:
    client.put_object("target/ü", b"data")
    client.put_symlink("target/ü", "link")
    assert client.get_symlink("link").target_key == "target/ü"
    assert client.get_object("link").read() == b"data"
    assert client.head_object("link").object_type == "Symlink"
    assert client.head_object("link").content_length == 4
    client.delete_object("target/ü")
    with pytest.raises(oss2.exceptions.ServerError) as failure:
        client.get_object("link")
    assert (failure.value.status, failure.value.code) == (404, "SymlinkTargetNotExist")
    client.put_object("normal", b"")
    with pytest.raises(oss2.exceptions.ServerError) as failure:
        client.get_symlink("normal")
    assert failure.value.code == "NotSymlink"


def test_multipart(client: Any) -> None:
    pieces = [bytes([number]) * PART for number in range(2)] + [b"end"]
    upload = client.init_multipart_upload("big", headers={"x-oss-meta-colour": "blue"}).upload_id
    sent = [client.upload_part("big", upload, number, piece) for number, piece in enumerate(pieces, 1)]
    parts = [oss2.models.PartInfo(number, part.etag) for number, part in enumerate(sent, 1)]
    listed = list(oss2.PartIterator(client, "big", upload, max_parts=2))
    assert [(part.part_number, part.size) for part in listed] == [(1, PART), (2, PART), (3, 3)]
    assert [found.upload_id for found in oss2.MultipartUploadIterator(client, max_uploads=1)] == [upload]
    assert not client.object_exists("big")
    with pytest.raises(oss2.exceptions.ServerError) as failure:
        client.complete_multipart_upload("big", upload, [oss2.models.PartInfo(1, "0" * 32)])
    assert failure.value.code == "InvalidPart"
    done = client.complete_multipart_upload("big", upload, parts)
    assert done.etag.endswith("-3") and done.crc == fastcrc.crc64.xz(b"".join(pieces))
    got = client.get_object("big")
    assert got.read() == b"".join(pieces)
    assert got.object_type == "Multipart" and got.headers["x-oss-meta-colour"] == "blue"
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        client.abort_multipart_upload("big", upload)


def test_part_copy_and_abort(client: Any, server: EmulatedServer) -> None:
    client.put_object("from", bytes(range(256)) * 800)
    upload = client.init_multipart_upload("to").upload_id
    first = client.upload_part_copy("bucket", "from", (256, 256 + PART - 1), "to", upload, 1)
    second = client.upload_part_copy("bucket", "from", (0, 9), "to", upload, 2)
    parts = [oss2.models.PartInfo(1, first.etag), oss2.models.PartInfo(2, second.etag)]
    client.complete_multipart_upload("to", upload, parts)
    assert client.get_object("to").read() == (bytes(range(256)) * 400) + bytes(range(10))
    other = client.init_multipart_upload("never").upload_id
    client.upload_part("never", other, 1, b"data")
    client.abort_multipart_upload("never", other)
    assert client.list_multipart_uploads().upload_list == []
    assert len(list(server.store.writable("bucket").folder.glob("data/*/*"))) == 2


def test_listings_of_uploads(client: Any) -> None:
    uploads = [(key, client.init_multipart_upload(key).upload_id) for key in ("a/1", "a/2", "b", "b", "c ü")]
    listed = list(oss2.MultipartUploadIterator(client, max_uploads=1))
    assert sorted((upload.key, upload.upload_id) for upload in listed) == sorted(uploads)
    grouped = list(oss2.MultipartUploadIterator(client, delimiter="/", max_uploads=1))
    assert [(upload.key, upload.is_prefix()) for upload in grouped] == [
        ("a/", True),
        ("b", False),
        ("b", False),
        ("c ü", False),
    ]
    assert [upload.key for upload in oss2.MultipartUploadIterator(client, prefix="a")] == ["a/1", "a/2"]


def test_resumable_transfers(client: Any, tmp_path: Any) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * 2000)
    keep: dict[str, Any] = {"store": oss2.ResumableStore(root=str(tmp_path)), "part_size": PART, "num_threads": 2}
    oss2.resumable_upload(client, "big", str(source), multipart_threshold=PART, **keep)
    keep["store"] = oss2.ResumableDownloadStore(root=str(tmp_path))
    oss2.resumable_download(client, "big", str(back), multiget_threshold=PART, **keep)
    assert back.read_bytes() == source.read_bytes()


def test_archived_objects_must_be_restored(client: Any) -> None:
    client.put_object("old", b"data", headers={"x-oss-storage-class": "Archive"})
    with pytest.raises(oss2.exceptions.ServerError) as failure:
        client.get_object("old")
    assert (failure.value.status, failure.value.code) == (403, "InvalidObjectState")
    assert client.head_object("old").headers["x-oss-storage-class"] == "Archive"
    assert client.restore_object("old").status == 202
    assert client.get_object("old").read() == b"data"
    assert 'ongoing-request="false"' in client.head_object("old").headers["x-oss-restore"]


def test_presigned_urls(client: Any, server: EmulatedServer) -> None:
    url = client.sign_url("PUT", "signed ü", 60, slash_safe=True)
    assert client.put_object_with_url(url, b"data").status == 200
    url = client.sign_url("GET", "signed ü", 60, slash_safe=True, params={"response-content-type": "a/b"})
    got = client.get_object_with_url(url)
    assert got.read() == b"data" and got.content_type == "a/b"
    if "127.0.0.1" in url:  # a plain client that knows nothing of OSS
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"data"
    with pytest.raises(oss2.exceptions.SignatureDoesNotMatch):
        client.get_object_with_url(url.replace("signed", "singed"))
    with pytest.raises(oss2.exceptions.AccessDenied, match="expired"):
        client.get_object_with_url(client.sign_url("GET", "signed ü", 0, slash_safe=True))
