"""The store as its clients see it."""

from __future__ import annotations

import http.client
import os
from pathlib import Path

import oss2
import pytest

from benchmarks import data
from benchmarks.network import NETWORKS, Network, parse
from benchmarks.store import LocalStore, Requests, count

NONE = NETWORKS["none"]
REGION = NETWORKS["region"]
KEY = data.train_key(data.TINY, 0)


def ask(served: LocalStore, method: str, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port(NONE), timeout=60)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def bucket(served: LocalStore, network: Network, name: str = data.BUCKET) -> oss2.Bucket:
    return oss2.Bucket(oss2.Auth("id", "secret"), served.url(network), name, is_path_style=True)


@pytest.mark.parametrize("network", [NONE, REGION], ids=["none", "region"])
def test_the_sdk_reads_objects_and_listings_that_agree(served: LocalStore, bench_cache: Path, network: Network) -> None:
    content = (data.data_root(bench_cache, data.TINY) / data.BUCKET / KEY).read_bytes()
    client = bucket(served, network)
    listed = {each.key: each for each in oss2.ObjectIteratorV2(client, prefix="train/", max_keys=7)}
    assert len(listed) == data.TINY.train_files
    assert listed[KEY].size == len(content)
    assert client.head_object(KEY).etag == listed[KEY].etag
    part = client.get_object(KEY, byte_range=(5, 99), headers={"If-Match": f'"{listed[KEY].etag}"'})
    assert part.status == 206 and part.read() == content[5:100]
    with pytest.raises(oss2.exceptions.ServerError) as refused:
        client.get_object(KEY, headers={"If-Match": '"other"'})
    assert refused.value.status == 412
    with pytest.raises(oss2.exceptions.NoSuchKey):
        client.get_object("train/none")


def test_virtual_hosts_see_the_same_bucket(served: LocalStore) -> None:
    answer, body = ask(served, "GET", f"/{KEY}", Host="bench.localhost")
    assert answer.status == 200
    assert body == ask(served, "GET", f"/bench/{KEY}")[1]
    assert b"<Prefix>train/</Prefix>" in ask(served, "GET", "/?list-type=2&delimiter=/", Host="bench.localhost")[1]


def test_folders_and_unknown_names_are_404(served: LocalStore) -> None:
    for path in ("/bench/train/000", "/bench/train/000/", "/bench/none", "/nowhere?list-type=2"):
        answer, body = ask(served, "GET", path)
        assert answer.status == 404 and b"<Error><Code>NoSuch" in body


def test_synthetic_objects_can_be_asked_for(served: LocalStore) -> None:
    client = bucket(served, NONE, "synthetic-flat-5000")
    keys = [each.key for each in oss2.ObjectIteratorV2(client, max_keys=1000)]
    assert len(keys) == 5_000
    whole = client.get_object(keys[17]).read()
    assert len(whole) == client.head_object(keys[17]).content_length
    assert client.get_object(keys[17], byte_range=(10, 19)).read() == whole[10:20]
    with pytest.raises(oss2.exceptions.NotFound):
        client.head_object("data/none")


def test_bad_listing_parameters_are_400(served: LocalStore) -> None:
    for query in ("max-keys=-1", "max-keys=x", "list-type=2&continuation-token=xyz"):
        answer, body = ask(served, "GET", f"/bench?{query}")
        assert answer.status == 400 and b"InvalidArgument" in body


def test_requests_are_counted_by_kind(served: LocalStore) -> None:
    ask(served, "GET", f"/bench/{KEY}")
    mark = served.mark()
    _, body = ask(served, "GET", f"/bench/{KEY}")
    ask(served, "GET", f"/bench/{KEY}", Range="bytes=0-9")
    ask(served, "HEAD", f"/bench/{KEY}")
    ask(served, "GET", "/bench?list-type=2")
    ask(served, "PUT", "/bench/new")
    assert served.requests(mark) == Requests(get=2, head=1, list=1, other=1, bytes_=len(body) + 10)


def test_nginx_never_blocks_in_accept(served: LocalStore, store_folder: Path) -> None:
    """Two workers race for each connection; the loser of a blocking accept(2) starves its other connections."""
    process = Path("/proc", (store_folder / "nginx.pid").read_text().strip())
    with open("/proc/net/tcp") as table:
        lines = [line.split() for line in table]
    listening = {
        f"socket:[{fields[9]}]" for fields in lines if fields[1] == f"0100007F:{served.port(NONE):04X}" and fields[3] == "0A"
    }
    found = [link.name for link in (process / "fd").iterdir() if os.readlink(link) in listening]
    assert found
    for descriptor in found:
        flags = (process / "fdinfo" / descriptor).read_text().split("flags:")[1].split()[0]
        assert int(flags, 8) & os.O_NONBLOCK


def test_a_line_that_is_cut_off_is_not_counted() -> None:
    line = b"80\tobject\tGET\t200\t5\t/bench/a\tagent\n"
    assert count(line + b"80\tobject\tGE") == Requests(get=1, bytes_=5)


def test_networks_are_named_or_spelled_out() -> None:
    assert parse("region") is REGION
    assert parse("5/10/200") == Network("5/10/200", 5, 10, 200_000_000)
    for text in ("mars", "1/2", "a/b/c"):
        with pytest.raises(ValueError, match="--latency"):
            parse(text)
