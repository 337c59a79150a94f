"""Every number that ossmount exports, in one place: its name for Prometheus, its unit, what it means, and where it stands in
the answer to `ossmount status --json`.

Nothing here counts: the parts of a mount keep these counters anyway. The text is written by whoever exports it (see
ossmount.daemon.exporter), and `ossmount top` and `ossmount explain` read the same answers.

Names follow Prometheus: base units (seconds, bytes), _total for what only grows. Each sample carries the label `mountpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Status = Mapping[str, Any]

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
PREFIX = "ossmount_"


class Sample(NamedTuple):
    """A value; of a histogram as ossmount.durations.Durations.facts() gives it."""

    labels: tuple[str, ...]
    value: Any


Read = Callable[[Status], Iterator[Sample]]


@dataclass(frozen=True)
class Metric:
    """One metric. `labels` are those beside mountpoint."""

    name: str
    kind: str
    meaning: str
    read: Read
    labels: tuple[str, ...] = ()


def found(status: Status, path: str) -> Any:
    """What stands at a path such as facts.data.hits; None when there is no such thing in this mount."""
    value: Any = status
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _at(path: str) -> Read:
    def read(status: Status) -> Iterator[Sample]:
        value = found(status, path)
        if isinstance(value, int | float):
            yield Sample((), value)

    return read


def _each(path: str) -> Read:
    """One sample for each name of a table."""

    def read(status: Status) -> Iterator[Sample]:
        for name, value in (found(status, path) or {}).items():
            if not isinstance(value, Mapping) or "buckets" in value:
                yield Sample((name,), value)

    return read


def _some(**paths: str) -> Read:
    """One sample for each path, with the given label."""

    def read(status: Status) -> Iterator[Sample]:
        for name, path in paths.items():
            value = found(status, path)
            if value is not None:
                yield Sample((name,), value)

    return read


def _two_deep(path: str) -> Read:
    """A table of tables: two labels."""

    def read(status: Status) -> Iterator[Sample]:
        for name, table in (found(status, path) or {}).items():
            for inner, value in table.items():
                yield Sample((name, inner), value)

    return read


def _of_directories(path: str) -> Read:
    """One sample for each folder of the cache on local disks."""

    def read(status: Status) -> Iterator[Sample]:
        for name, facts in (found(status, "facts.disk.directories") or {}).items():
            value = found(facts, path)
            if value is not None:
                yield Sample((name,), value)

    return read


def _both(first: Read, second: Read) -> Read:
    def read(status: Status) -> Iterator[Sample]:
        yield from first(status)
        yield from second(status)

    return read


def _mount_info(status: Status) -> Iterator[Sample]:
    yield Sample((str(status.get("source", "")), str(status.get("channel", ""))), 1)


METRICS: tuple[Metric, ...] = (
    Metric("mount_info", GAUGE, "Always 1; source and channel as labels.", _mount_info, ("source", "channel")),
    Metric("uptime_seconds", GAUGE, "Since this daemon of the mount serves.", _at("uptime")),
    # what the kernel asks
    Metric("kernel_requests_total", COUNTER, "Requests of the kernel.", _each("counters.kernel"), ("operation",)),
    Metric(
        "kernel_request_duration_seconds",
        HISTOGRAM,
        "From reading a request of the kernel to its answer.",
        _each("facts.channel.durations"),
        ("operation",),
    ),
    Metric(
        "kernel_errors_total",
        COUNTER,
        "Requests answered with a failure (not: no such file), by errno.",
        _each("facts.channel.errors"),
        ("errno",),
    ),
    Metric("kernel_requests_waiting", GAUGE, "Requests of the kernel that are not answered yet.", _at("facts.channel.waiting")),
    Metric("kernel_read_bytes_total", COUNTER, "Bytes that the kernel was given for READs.", _at("facts.channel.bytes_read")),
    Metric("kernel_files_read_total", COUNTER, "READs of the beginning of a file.", _at("facts.channel.files_read")),
    # what OSS is asked
    Metric(
        "oss_requests_total",
        COUNTER,
        "Requests made to OSS, each attempt counted.",
        lambda status: (sample for sample in _each("counters")(status) if sample.labels != ("kernel",)),
        ("kind",),
    ),
    Metric(
        "oss_request_duration_seconds",
        HISTOGRAM,
        "Of a request to OSS, from sending it (GET: or connecting) to its last byte.",
        _both(_some(get="facts.fetch.durations.get"), _each("facts.oss.durations")),
        ("kind",),
    ),
    Metric(
        "oss_first_byte_seconds",
        HISTOGRAM,
        "From a GET to the first byte of its answer.",
        _some(get="facts.fetch.durations.first_byte"),
        ("kind",),
    ),
    Metric("oss_received_bytes_total", COUNTER, "Bytes of file data received from OSS.", _at("facts.fetch.bytes")),
    Metric(
        "oss_retries_total",
        COUNTER,
        "Requests to OSS that were repeated.",
        _some(data="facts.fetch.retries", names="facts.oss.retries"),
        ("plane",),
    ),
    Metric("oss_requests_failed_total", COUNTER, "Requests for names that were given up.", _at("facts.oss.failures")),
    Metric("oss_throttled_total", COUNTER, "GETs that OSS refused for being too many.", _at("facts.fetch.throttled")),
    Metric("oss_timeouts_total", COUNTER, "GETs that stalled.", _at("facts.fetch.timeouts")),
    Metric("oss_hedged_total", COUNTER, "GETs that were made a second time for being late.", _at("facts.fetch.hedged")),
    Metric("oss_hedges_won_total", COUNTER, "Of these, answered first by the second.", _at("facts.fetch.hedges_won")),
    Metric("oss_damaged_total", COUNTER, "Answers to GETs that failed a check.", _at("facts.fetch.damaged")),
    Metric("oss_verified_total", COUNTER, "Objects fetched whole that have their CRC-64.", _at("facts.fetch.verified")),
    Metric("oss_unverified_total", COUNTER, "Objects fetched whole without a CRC-64.", _at("facts.fetch.unverified")),
    Metric("oss_damaged_objects_total", COUNTER, "Objects that stayed damaged.", _at("facts.integrity.damaged_objects")),
    Metric("oss_connections_opened_total", COUNTER, "Connections that were opened.", _at("facts.fetch.connections")),
    Metric(
        "oss_waited_seconds_total",
        COUNTER,
        "Sum over all fetches of the time without a connection: before it (queue) and between attempts (retry).",
        _each("facts.fetch.waited"),
        ("reason",),
    ),
    Metric("oss_fetches_waiting", GAUGE, "Fetches that are not done.", _at("facts.fetch.outstanding")),
    # what is asked of OSS at most
    Metric(
        "limit_requests_per_second",
        GAUGE,
        "Asked of OSS at most: set, by option; learned, from what OSS refused. 0: no limit.",
        _some(set="facts.rates.limit_requests", learned="facts.rates.learned_requests"),
        ("limit",),
    ),
    Metric("limit_bytes_per_second", GAUGE, "By option; 0: no limit.", _at("facts.rates.limit_bandwidth")),
    Metric("limit_requests_waiting", GAUGE, "Requests that wait for the limit.", _at("facts.rates.wanted_requests")),
    # memory
    Metric(
        "reads_total",
        COUNTER,
        "READs by where their bytes were: in memory, on their way already (joined), or to be fetched.",
        _some(memory="facts.data.hits", joined="facts.data.joined", fetched="facts.data.misses"),
        ("found",),
    ),
    Metric("reads_queued_total", COUNTER, "READs that had to wait for memory.", _at("facts.data.queued")),
    Metric("reads_waiting_for_memory", GAUGE, "READs that wait for memory now.", _at("facts.data.waiting_for_memory")),
    Metric("readahead_fetches_total", COUNTER, "Ranges fetched before they were asked for.", _at("facts.data.fetched_ahead")),
    Metric(
        "readahead_dropped_bytes_total",
        COUNTER,
        "Bytes fetched ahead that gave way before they were read.",
        _at("facts.data.dropped_unread"),
    ),
    Metric(
        "memory_bytes",
        GAUGE,
        "limit: of file data, by option; allowed: of file data now; used: by file data; beside: by the processes for "
        "themselves; available: to the machine or container.",
        _some(
            limit="facts.memory.limit",
            allowed="facts.memory.slab",
            used="facts.memory.used_slab",
            beside="facts.memory.used_beside",
            available="facts.memory.available",
        ),
        ("part",),
    ),
    Metric(
        "cpu_seconds_total",
        COUNTER,
        "CPU of the processes that live.",
        _some(daemon="facts.cpu.daemon", fetch="facts.cpu.fetch", others="facts.cpu.others"),
        ("part",),
    ),
    # the cache on local disks
    Metric(
        "disk_reads_total",
        COUNTER,
        "Fetches by what the cache on local disks had of them; bypassed: it was too slow to be asked.",
        _some(
            hit="facts.disk.hits",
            partial="facts.disk.partial_hits",
            miss="facts.disk.misses",
            bypassed="facts.disk.bypassed",
        ),
        ("result",),
    ),
    Metric("disk_read_bytes_total", COUNTER, "Read from the cache on local disks.", _at("facts.disk.bytes_read")),
    Metric("disk_written_bytes_total", COUNTER, "Written to the cache on local disks.", _at("facts.disk.bytes_written")),
    Metric("disk_not_written_total", COUNTER, "Ranges not cached since the disk was behind.", _at("facts.disk.not_written")),
    Metric("disk_bad_blocks_total", COUNTER, "Blocks that did not verify and were fetched anew.", _at("facts.disk.bad_blocks")),
    Metric("disk_read_errors_total", COUNTER, "Reads that the disk failed.", _at("facts.disk.read_errors")),
    Metric("disk_used_bytes", GAUGE, "In a folder of the cache.", _of_directories("used"), ("directory",)),
    Metric("disk_evicted_bytes_total", COUNTER, "Removed for room.", _of_directories("evicted_bytes"), ("directory",)),
    Metric(
        "disk_read_duration_seconds",
        HISTOGRAM,
        "From asking the reading process to its answer.",
        _of_directories("durations.read"),
        ("directory",),
    ),
    # names
    Metric(
        "metadata_hits_total",
        COUNTER,
        "Questions for names and attributes that needed no request.",
        _each("facts.metadata.cache.hits"),
        ("operation",),
    ),
    Metric(
        "metadata_misses_total",
        COUNTER,
        "Those that needed one; stale: the old answer was given and a new one asked for.",
        _two_deep("facts.metadata.cache.misses"),
        ("operation", "cause"),
    ),
    Metric("metadata_names", GAUGE, "Names in the metadata store.", _at("facts.metadata.store.names")),
    Metric("metadata_store_bytes", GAUGE, "Size of the metadata store.", _at("facts.metadata.store.bytes")),
    # whole files fetched ahead
    Metric(
        "look_ahead_files_total",
        COUNTER,
        "Files fetched before they were opened, by what became of them; stored: in the kernel's page cache.",
        _some(
            fetched="facts.look_ahead.fetched",
            stored="facts.look_ahead.stored",
            failed="facts.look_ahead.failed",
            given_back="facts.look_ahead.given_back",
        ),
        ("outcome",),
    ),
    Metric("look_ahead_under_way", GAUGE, "Files that are fetched ahead now.", _at("facts.look_ahead.under_way")),
    # the mount itself
    Metric("daemon_deaths_total", COUNTER, "Daemons of this mount that died and were replaced.", _at("facts.keeper.deaths")),
    Metric(
        "process_restarts_total",
        COUNTER,
        "Fetch and disk processes that died and were replaced.",
        _some(fetch="facts.fetch.restarts", disk="facts.disk.restarts"),
        ("process",),
    ),
    Metric(
        "credentials_left_seconds",
        GAUGE,
        "Until the credentials expire; absent when they do not.",
        _at("facts.credentials.expires_in"),
    ),
    Metric(
        "credentials_renewals_total",
        COUNTER,
        "Times that other credentials came, and times that none could be had.",
        _some(renewed="facts.credentials.refreshes", failed="facts.credentials.failures"),
        ("outcome",),
    ),
)

#: Not out of a status: whether there was one.
UP = Metric("up", GAUGE, "1: the daemon of the mount answers, 0: it does not.", lambda _: iter(()))
