"""Rules: what makes reads wait although nothing is broken. See ossmount.insight.rules."""

from __future__ import annotations

from ossmount.durations import quantile
from ossmount.insight.finding import FEW, Finding, cache_overflows, gets_of, reads_of, waiting_of
from ossmount.insight.looks import Looks, count, moment, percent, size, spread
from ossmount.options.units import SIZE


def metadata_expires(looks: Looks) -> Finding | None:
    hits = sum(looks.table("facts.metadata.cache.hits").values())
    causes = looks.causes("facts.metadata.cache.misses")
    expired = causes.get("expired", 0.0)
    asked = looks.grown("counters.list", "counters.head")
    if expired < FEW or expired < 0.2 * (hits + sum(causes.values())):
        return None
    return Finding(
        "metadata_expires",
        "Names and attributes expire and are asked for again.",
        (
            f"{count(expired)} of {count(hits + sum(causes.values()))} questions met something known that had expired",
            f"{count(asked)} LIST and HEAD requests ({count(asked / looks.seconds)} a second)",
        ),
        (
            "if the data does not change while it is read: raise --attr-timeout and --entry-timeout, or set --metadata-ttl inf",
            "--metadata-stale answers with what is known and asks OSS beside it",
        ),
        65,
    )


def names_unknown(looks: Looks) -> Finding | None:
    causes = looks.causes("facts.metadata.cache.misses")
    unknown, lists = causes.get("unknown", 0.0), looks.grown("counters.list", "counters.head")
    listing = looks.durations("facts.oss.durations.list")
    busy = listing["seconds"] / looks.seconds
    if lists < FEW or unknown < FEW or busy < 0.3:
        return None
    return Finding(
        "names_unknown",
        "Names are being listed: each folder is asked for the first time.",
        (f"{count(lists)} LIST and HEAD requests, {spread(listing)}", f"{count(unknown)} names were not known before"),
        (
            "list once for all machines: `ossmount metadata build` and `export`, then --metadata-snapshot",
            "a folder for every few files costs a LIST each: flatter trees need fewer",
        ),
        60,
    )


def cache_too_small(looks: Looks) -> Finding | None:
    dropped, received = looks.disk_grown("evicted_bytes"), looks.grown("facts.fetch.bytes")
    found, partly = looks.grown("facts.disk.hits"), looks.grown("facts.disk.partial_hits")
    missed = looks.grown("facts.disk.misses")
    if not cache_overflows(looks) or looks.share(missed, found, partly) < 0.3:
        return None
    used = sum(folder.get("used") or 0 for folder in (looks.now("facts.disk.directories") or {}).values())
    return Finding(
        "cache_too_small",
        "The cache on disk is smaller than what is read: it drops files to make room for others.",
        (
            f"{size(dropped)} were dropped while {size(received)} came from OSS; the cache holds {size(used)}",
            f"{percent(looks.share(found, partly, missed))} of {count(found + partly + missed)} fetches were found in it",
        ),
        (
            "raise --cache-size, or lower --cache-free-space, where the disk has room; or another disk: --cache-dir DIR:DIR",
            "keep what is read most often: `ossmount warm --pin`",
        ),
        72,
    )


def no_connections(looks: Looks) -> Finding | None:
    queued, attempts = looks.grown("facts.fetch.waited.queue"), looks.durations("facts.fetch.durations.get")
    if attempts["count"] < FEW or queued < 0.3 * attempts["seconds"]:
        return None
    each, took = queued / attempts["count"], attempts["seconds"] / attempts["count"]
    allowed = looks.number("facts.memory.connections")
    return Finding(
        "connections",
        "Fetches wait for a free connection.",
        (
            f"each of {count(attempts['count'])} GETs waited {moment(each)} and then took {moment(took)}",
            f"{count(looks.number('facts.fetch.outstanding'))} fetches are under way, on {allowed:.0f} connections",
        ),
        ("raise --connections; with --limit-requests or --limit-bandwidth it is the limit that lets them wait",),
        55,
    )


def slow_store(looks: Looks) -> Finding | None:
    first, whole = looks.durations("facts.fetch.durations.first_byte"), looks.durations("facts.fetch.durations.get")
    median = quantile(first, 0.5)
    if first["count"] < 5 or median is None or median < 0.05 or waiting_of(looks) < 0.2:
        return None
    return Finding(
        "slow_store",
        "Reads wait for OSS, which is slow to answer.",
        (
            f"until the first byte: {spread(first)} ({count(first['count'])} GETs)",
            f"until the last byte: {spread(whole)}",
            f"{percent(waiting_of(looks))} of the reads had to wait for bytes",
        ),
        (
            "inside the region use the -internal endpoint (--endpoint); from elsewhere this is the distance",
            "tell the order beforehand (`ossmount prefetch`, ossmount.hints), so that files are there before they are opened",
            "--cache-dir keeps what was read for the next epoch; `ossmount warm` fills it",
        ),
        50,
    )


def slow_transfer(looks: Looks) -> Finding | None:
    first, whole = looks.durations("facts.fetch.durations.first_byte"), looks.durations("facts.fetch.durations.get")
    received = looks.grown("facts.fetch.bytes")
    body = whole["seconds"] - first["seconds"]
    if whole["count"] < 5 or body < 0.5 * whole["seconds"] or waiting_of(looks) < 0.2:
        return None
    speed = received / body
    if speed > 30e6 or received / whole["count"] < 256 << 10:  # of a small piece the time says nothing about bandwidth
        return None
    return Finding(
        "slow_transfer",
        "Reads wait for the bytes: each connection to OSS is slow.",
        (
            f"{size(speed)} a second on each connection, {size(received / looks.seconds)} a second in sum",
            f"{percent(body / whole['seconds'])} of the time of a GET is spent behind its first byte",
        ),
        (
            "look at the machine's network: its bandwidth may be used up, or shaped",
            "more connections at once: --connections, --readahead-count for large files",
        ),
        45,
    )


def window_too_small(looks: Looks) -> Finding | None:
    first = quantile(looks.durations("facts.fetch.durations.first_byte"), 0.5)
    ahead, joined = looks.grown("facts.data.fetched_ahead"), looks.grown("facts.data.joined")
    if first is None or ahead < FEW or joined < 0.5 * reads_of(looks) or waiting_of(looks) < 0.2:
        return None
    try:
        window = SIZE.parse(str(looks.now("options.readahead_size.value"))) * int(looks.now("options.readahead_count.value"))
    except (TypeError, ValueError):
        return None
    read, waited = looks.grown("facts.channel.bytes_read"), looks.durations("facts.channel.durations.READ")["seconds"]
    speed = max(read / looks.seconds, read / waited if waited else 0.0)  # the latter is while somebody reads
    if speed * first < 0.5 * window:
        return None
    return Finding(
        "window",
        "The window of readahead is too small for this distance.",
        (
            f"{size(window)} are read ahead at most, and {size(speed * first)} pass by until OSS begins to answer "
            f"({moment(first)})",
            f"{percent(joined / reads_of(looks))} of the reads came for bytes that were still on their way",
        ),
        ("raise --readahead-count (and --memory-limit with it)",),
        40,
    )


def small_random_reads(looks: Looks) -> Finding | None:
    misses, gets, received = looks.grown("facts.data.misses"), gets_of(looks), looks.grown("facts.fetch.bytes")
    began, reads = looks.grown("facts.channel.files_read"), reads_of(looks)
    if misses < 5 * FEW or gets < FEW or misses < 0.5 * reads or began > 0.5 * misses:
        return None
    each = received / gets
    if each > 256 << 10 or looks.grown("facts.data.fetched_ahead") > 0.2 * gets:
        return None
    return Finding(
        "small_random_reads",
        "Small pieces are read at random places of large files: each costs a request and its latency.",
        (
            f"{count(misses)} of {count(reads)} reads were not in memory; a GET brings {size(each)}",
            f"{count(misses / looks.seconds)} such reads a second, {spread(looks.durations('facts.channel.durations.READ'))}",
        ),
        (
            "more readers at once: latency is hidden by doing many reads together",
            "--cache-dir, and `ossmount warm --pin FILE`, so that the whole file is on a local disk (--passthrough for more)",
            "a format that is read from its beginning (tar, WebDataset) is streamed with large requests",
        ),
        52,
    )


def too_much_fetched(looks: Looks) -> Finding | None:
    received = looks.grown("facts.fetch.bytes") + looks.grown("facts.disk.bytes_read")
    given = looks.grown("facts.channel.bytes_read")
    stored = looks.grown("facts.look_ahead.stored")
    if stored or given < 1 << 20 or received < 2 * given:
        return None
    return Finding(
        "amplification",
        "Much more is fetched than is read.",
        (f"{size(received)} fetched for {size(given)} read ({received / given:.1f} bytes for each byte)",),
        (
            "readers that stop early or jump: lower --readahead-count",
            "more memory (--memory-limit) where the same bytes are fetched again and again",
        ),
        30,
    )
