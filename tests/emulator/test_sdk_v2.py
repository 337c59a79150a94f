"""Every call that alibabacloud-oss-v2 has, through that SDK itself, with each of its signatures."""

from __future__ import annotations

import datetime
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss
import fastcrc
import pytest
from alibabacloud_oss_v2.transport import RequestsHttpClient

from ossmount.emulator.server import EmulatedServer

PART = 100 << 10


@pytest.fixture(params=["v1", "v4", "v4-host"])
def client(request: pytest.FixtureRequest, server: EmulatedServer) -> Iterator[Any]:
    """A client; "host" addresses buckets as BUCKET.ENDPOINT, through the server as a proxy since no DNS knows that name."""
    signature, _, host = request.param.partition("-")
    transport = RequestsHttpClient(proxy_host={"http": server.url} if host else None)
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider("test-id", "test-secret")
    config.region = "cn-hangzhou"
    config.signature_version = signature
    config.endpoint = "http://oss-cn-hangzhou.aliyuncs.com" if host else server.url
    config.use_path_style = not host
    config.http_client = transport
    config.retryer = oss.retry.NopRetryer()
    yield oss.Client(config)
    transport.close()


def refused(call: Any, request: Any) -> tuple[int, str]:
    """Status and code of the error that a call is answered with."""
    with pytest.raises(oss.exceptions.OperationError) as failure:
        call(request)
    error = failure.value.unwrap()
    assert isinstance(error, oss.exceptions.ServiceError)
    return error.status_code, error.code


def body_of(result: Any) -> bytes:
    with result.body as body:
        data: bytes = body.read()
    return data


def put(client: Any, key: str, data: bytes, **more: Any) -> Any:
    return client.put_object(oss.PutObjectRequest(bucket="bucket", key=key, body=data, **more))


def get(client: Any, key: str, **more: Any) -> bytes:
    return body_of(client.get_object(oss.GetObjectRequest(bucket="bucket", key=key, **more)))


def test_service_and_bucket_calls(client: Any) -> None:
    settings = oss.CreateBucketConfiguration(storage_class="IA")
    client.put_bucket(oss.PutBucketRequest(bucket="another", acl="public-read", create_bucket_configuration=settings))
    pages = client.list_buckets_paginator().iter_page(oss.ListBucketsRequest(max_keys=1))
    assert [bucket.name for page in pages for bucket in page.buckets] == ["another", "bucket"]
    info = client.get_bucket_info(oss.GetBucketInfoRequest(bucket="another")).bucket_info
    assert (info.name, info.storage_class, info.acl) == ("another", "IA", "public-read")
    assert client.get_bucket_location(oss.GetBucketLocationRequest(bucket="another")).location == "oss-local"
    put(client, "a", b"12345")
    stat = client.get_bucket_stat(oss.GetBucketStatRequest(bucket="bucket"))
    assert (stat.storage, stat.object_count, stat.multi_part_upload_count) == (5, 1, 0)
    assert refused(client.delete_bucket, oss.DeleteBucketRequest(bucket="bucket")) == (409, "BucketNotEmpty")
    client.delete_bucket(oss.DeleteBucketRequest(bucket="another"))
    assert not client.is_bucket_exist("another") and client.is_bucket_exist("bucket")
    assert refused(client.get_bucket_stat, oss.GetBucketStatRequest(bucket="another")) == (404, "NoSuchBucket")


def test_put_get_head_and_delete(client: Any) -> None:
    key, data = "folder one/ü+%&=日.txt", b"some data" * 1000
    result = put(client, key, data, content_type="text/plain", metadata={"colour": "blue"})
    assert result.hash_crc64 == str(fastcrc.crc64.xz(data))
    got = client.get_object(oss.GetObjectRequest(bucket="bucket", key=key))
    assert (got.content_type, got.etag, got.metadata["colour"]) == ("text/plain", result.etag, "blue")
    assert body_of(got) == data
    head = client.head_object(oss.HeadObjectRequest(bucket="bucket", key=key))
    assert (head.content_length, head.etag, head.object_type) == (len(data), result.etag, "Normal")
    meta = client.get_object_meta(oss.GetObjectMetaRequest(bucket="bucket", key=key))
    assert (meta.content_length, meta.etag) == (len(data), result.etag)
    client.delete_object(oss.DeleteObjectRequest(bucket="bucket", key=key))
    assert not client.is_object_exist("bucket", key)
    assert refused(client.get_object, oss.GetObjectRequest(bucket="bucket", key=key)) == (404, "NoSuchKey")
    assert refused(client.head_object, oss.HeadObjectRequest(bucket="bucket", key=key)) == (404, "NoSuchKey")


def test_forbidden_overwrite(client: Any) -> None:
    put(client, "key", b"first", forbid_overwrite=True)
    again = oss.PutObjectRequest(bucket="bucket", key="key", body=b"second", forbid_overwrite=True)
    assert refused(client.put_object, again) == (409, "FileAlreadyExists")
    assert get(client, "key") == b"first"


def test_ranges_and_conditions(client: Any) -> None:
    etag = put(client, "key", b"0123456789").etag
    assert get(client, "key", range_header="bytes=2-4") == b"234"
    assert get(client, "key", range_header="bytes=5-100", range_behavior="standard") == b"56789"
    beyond = oss.GetObjectRequest(bucket="bucket", key="key", range_header="bytes=10-", range_behavior="standard")
    assert refused(client.get_object, beyond) == (416, "InvalidRange")
    assert get(client, "key", if_match=etag) == b"0123456789"
    changed = oss.GetObjectRequest(bucket="bucket", key="key", if_match='"0"')
    assert refused(client.get_object, changed) == (412, "PreconditionFailed")
    same = oss.GetObjectRequest(bucket="bucket", key="key", if_none_match=etag)
    assert refused(client.get_object, same)[0] == 304
    got = client.get_object(oss.GetObjectRequest(bucket="bucket", key="key", response_content_type="a/b"))
    assert got.content_type == "a/b" and body_of(got) == b"0123456789"


def test_both_listings(client: Any, server: EmulatedServer) -> None:
    keys = ["a", "a/1", "a/2", "b c/x\x01\n", "b c/ü", "d"]
    for key in keys:
        server.store.put("bucket", key.encode(), b"data", mtime=1_600_000_000)
    for paginator, request in (
        (client.list_objects_paginator(), oss.ListObjectsRequest(bucket="bucket", max_keys=2)),
        (client.list_objects_v2_paginator(), oss.ListObjectsV2Request(bucket="bucket", max_keys=2)),
    ):
        assert [found.key for page in paginator.iter_page(request) for found in page.contents or []] == keys
        request.delimiter, request.max_keys = "/", 1
        pages = list(paginator.iter_page(request))
        assert [found.key for page in pages for found in page.contents or []] == ["a", "d"]
        assert [found.prefix for page in pages for found in page.common_prefixes or []] == ["a/", "b c/"]
    page = client.list_objects_v2(oss.ListObjectsV2Request(bucket="bucket", start_after="a/2", fetch_owner=True))
    first = page.contents[0]
    assert (first.key, first.size, first.object_type, first.storage_class) == (keys[3], 4, "Normal", "Standard")
    assert first.last_modified.timestamp() == 1_600_000_000 and first.owner.id and page.key_count == 3


def test_copy_and_delete_multiple(client: Any, server: EmulatedServer) -> None:
    put(client, "from/ü", b"data", metadata={"colour": "blue"})
    client.copy_object(oss.CopyObjectRequest(bucket="bucket", key="to", source_key="from/ü"))
    head = client.head_object(oss.HeadObjectRequest(bucket="bucket", key="to"))
    assert get(client, "to") == b"data" and head.metadata["colour"] == "blue"
    objects = [oss.DeleteObject(key=key) for key in ("to", "from/ü", "missing\x01")]
    result = client.delete_multiple_objects(oss.DeleteMultipleObjectsRequest(bucket="bucket", objects=objects))
    assert sorted(deleted.key for deleted in result.deleted_objects) == ["from/ü", "missing\x01", "to"]
    assert server.store.keys("bucket") == []


def test_append(client: Any) -> None:
    def append(position: int, data: bytes) -> Any:
        return oss.AppendObjectRequest(bucket="bucket", key="log", position=position, body=data)

    assert client.append_object(append(0, b"one")).next_position == 3
    assert client.append_object(append(3, b"two")).hash_crc64 == str(fastcrc.crc64.xz(b"onetwo"))
    assert get(client, "log") == b"onetwo"
    assert refused(client.append_object, append(1, b"three")) == (409, "PositionNotEqualToLength")


def test_symlinks(client: Any) -> None:
    put(client, "target/ü", b"data")
    target = urllib.parse.quote("target/ü")  # this SDK leaves the escaping of the header to its user
    client.put_symlink(oss.PutSymlinkRequest(bucket="bucket", key="link", symlink_target=target))
    assert client.get_symlink(oss.GetSymlinkRequest(bucket="bucket", key="link")).target == target
    assert get(client, "link") == b"data"


def test_multipart(client: Any, server: EmulatedServer) -> None:
    pieces = [bytes([number]) * PART for number in range(2)] + [b"end"]
    begin = oss.InitiateMultipartUploadRequest(bucket="bucket", key="big ü", metadata={"colour": "blue"})
    upload = client.initiate_multipart_upload(begin).upload_id
    name = {"bucket": "bucket", "key": "big ü", "upload_id": upload}
    parts = []
    for number, piece in enumerate(pieces, 1):
        sent = client.upload_part(oss.UploadPartRequest(part_number=number, body=piece, **name))
        parts.append(oss.UploadPart(part_number=number, etag=sent.etag))
    pages = client.list_parts_paginator().iter_page(oss.ListPartsRequest(max_parts=2, **name))
    assert [(part.part_number, part.size) for page in pages for part in page.parts] == [(1, PART), (2, PART), (3, 3)]
    uploads = client.list_multipart_uploads_paginator().iter_page(oss.ListMultipartUploadsRequest(bucket="bucket"))
    assert [(found.key, found.upload_id) for page in uploads for found in page.uploads] == [("big ü", upload)]
    disordered = oss.CompleteMultipartUploadRequest(
        complete_multipart_upload=oss.CompleteMultipartUpload(parts=parts[::-1]), **name
    )
    assert refused(client.complete_multipart_upload, disordered) == (400, "InvalidPartOrder")
    listed = oss.CompleteMultipartUpload(parts=parts)
    done = client.complete_multipart_upload(oss.CompleteMultipartUploadRequest(complete_multipart_upload=listed, **name))
    assert done.key == "big ü" and done.etag.strip('"').endswith("-3")
    assert get(client, "big ü") == b"".join(pieces)
    assert len(list(server.store.writable("bucket").folder.glob("data/*/*"))) == 1


def test_part_copy_and_abort(client: Any) -> None:
    put(client, "from", bytes(range(256)))
    name = {"bucket": "bucket", "key": "to"}
    name["upload_id"] = client.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(**name)).upload_id
    copied = client.upload_part_copy(
        oss.UploadPartCopyRequest(part_number=1, source_key="from", source_range="bytes=1-3", **name)
    )
    every = oss.CompleteMultipartUploadRequest(complete_all="yes", **name)
    client.complete_multipart_upload(every)
    assert copied.etag and get(client, "to") == b"\x01\x02\x03"
    other = client.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(bucket="bucket", key="to")).upload_id
    gone = oss.AbortMultipartUploadRequest(bucket="bucket", key="to", upload_id=other)
    client.abort_multipart_upload(gone)
    assert refused(client.abort_multipart_upload, gone) == (404, "NoSuchUpload")


def test_restore(client: Any) -> None:
    put(client, "old", b"data", storage_class="ColdArchive")
    assert refused(client.get_object, oss.GetObjectRequest(bucket="bucket", key="old")) == (403, "InvalidObjectState")
    client.restore_object(oss.RestoreObjectRequest(bucket="bucket", key="old"))
    assert get(client, "old") == b"data"


def test_presigned_urls(client: Any, server: EmulatedServer) -> None:
    server.store.put("bucket", "signed ü".encode(), b"data")
    request = oss.GetObjectRequest(bucket="bucket", key="signed ü", response_content_type="a/b")
    url = client.presign(request, expires=datetime.timedelta(minutes=1)).url
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": server.url}))
    with opener.open(url) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"data", "a/b")


def test_transfers_in_parts(client: Any, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * 2000)
    sizes = {"part_size": PART, "parallel_num": 2}
    client.uploader(**sizes).upload_file(oss.PutObjectRequest(bucket="bucket", key="big"), str(source))
    client.downloader(**sizes).download_file(oss.GetObjectRequest(bucket="bucket", key="big"), str(back))
    assert back.read_bytes() == source.read_bytes()
    with client.open_file("bucket", "big") as file:
        file.seek(300)
        assert file.read(3) == bytes([44, 45, 46])
