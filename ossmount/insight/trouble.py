"""Rules: what stands in the way of every read. See ossmount.insight.rules."""

from __future__ import annotations

import datetime

from ossmount.durations import quantile
from ossmount.insight.finding import FEW, Finding, cache_overflows, gets_of, reads_of
from ossmount.insight.looks import Looks, count, size, spread


def credentials(looks: Looks) -> Finding | None:
    refused = looks.table("facts.channel.errors").get("EACCES", 0.0)
    left = looks.now("facts.credentials.expires_in")
    expired = isinstance(left, int | float) and left <= 0
    failing = bool(looks.now("facts.credentials.failing"))
    if not (refused or expired or failing):
        return None
    evidence = [f"{count(refused)} requests were answered EACCES (permission denied)"] if refused else []
    if isinstance(left, int | float):
        ago = datetime.timedelta(seconds=abs(int(left)))
        evidence.append(f"the credentials expired {ago} ago" if expired else f"the credentials are good for {ago} more")
    if failing:
        evidence.append(f"renewing them fails: {looks.now('facts.credentials.last_error')}")
    return Finding(
        "credentials",
        "OSS refuses the credentials." if refused or expired else "The credentials cannot be renewed.",
        tuple(evidence),
        (
            "renew what --credentials names, or the role that the credentials come from; the mount notices by itself",
            "the log (see `ossmount status`) has OSS's own words: expired, no permission for this prefix, or a wrong key",
        ),
        100,
    )


def unreachable(looks: Looks) -> Finding | None:
    errors = looks.table("facts.channel.errors")
    lost = {name: number for name, number in errors.items() if name in ("EIO", "ETIMEDOUT")}
    retries, gets = looks.grown("facts.fetch.retries", "facts.oss.retries"), gets_of(looks)
    throttled = looks.grown("facts.fetch.throttled")
    failed = retries - throttled
    if not lost and not (failed >= 3 and failed > 0.02 * gets):
        return None
    evidence = [f"{count(number)} requests of programs failed with {name}" for name, number in lost.items()]
    evidence.append(f"{count(retries)} of {count(gets)} requests to OSS were repeated")
    stalled = looks.grown("facts.fetch.timeouts")
    evidence += [f"{count(stalled)} got no answer in time"] if stalled else []
    damaged = looks.grown("facts.fetch.damaged")
    evidence += [f"{count(damaged)} answers failed a check and were asked for again"] if damaged else []
    return Finding(
        "unreachable",
        "Requests to OSS fail and are repeated.",
        tuple(evidence),
        (
            "look at the network to the endpoint; inside the region use the -internal endpoint (--endpoint)",
            "--timeout says how long a read may take before it fails, --proxy what is in between",
        ),
        95,
    )


def throttled(looks: Looks) -> Finding | None:
    refused = max(looks.grown("facts.fetch.throttled"), looks.grown("facts.rates.refused"))  # the latter has LIST and HEAD, too
    learned = looks.number("facts.rates.learned_requests")
    if refused < 3:
        return None
    evidence = [f"{count(refused)} requests were refused for being too many"]
    evidence += [f"the mount asks {count(learned)} a second now, as many as OSS takes"] if learned else []
    return Finding(
        "throttled",
        "OSS throttles: it takes fewer requests or bytes a second than are asked for.",
        tuple(evidence),
        (
            "ask Alibaba Cloud for a higher limit of the account or bucket, or spread the data over several buckets",
            "make fewer requests: --cache-dir keeps what was read, --metadata-snapshot saves listing, larger files save GETs",
            "--limit-requests keeps several mounts below a common limit without being refused",
        ),
        90,
    )


def limited(looks: Looks) -> Finding | None:
    requests, bandwidth = looks.number("facts.rates.limit_requests"), looks.number("facts.rates.limit_bandwidth")
    asked = looks.rate("facts.fetch.requests", "counters.list", "counters.head")
    held = looks.grown("facts.fetch.waited.queue") > 0.5 * looks.durations("facts.fetch.durations.get")["seconds"]
    near_requests = requests and (asked > 0.8 * requests or (held and asked > 0.2 * requests))
    near_bandwidth = bandwidth and looks.rate("facts.fetch.bytes") > 0.8 * bandwidth
    waits = looks.number("facts.rates.wanted_requests") + looks.number("facts.rates.wanted_bytes")
    if not (requests or bandwidth) or not (near_requests or near_bandwidth or waits):
        return None
    evidence = []
    if requests:
        evidence.append(f"{count(looks.rate('facts.fetch.requests'))} GETs a second; allowed are {count(requests)} requests")
    if bandwidth:
        evidence.append(f"{size(looks.rate('facts.fetch.bytes'))} a second; allowed are {size(bandwidth)}")
    return Finding(
        "limited",
        "The mount is held back by its own limit.",
        tuple(evidence),
        ("raise --limit-requests or --limit-bandwidth: `ossmount restart MOUNTPOINT --limit-requests N`",),
        85,
    )


def slow_disk(looks: Looks) -> Finding | None:
    folders = (looks.now("facts.disk.directories") or {}).values()
    problems = [f"{folder['path']}: {folder['problem']}" for folder in folders if folder.get("problem")]
    reads = looks.disk_reads()
    median, store = quantile(reads, 0.5), quantile(looks.durations("facts.fetch.durations.get"), 0.5)
    slow = reads["count"] >= FEW and median is not None and median > 0.02 and (store is None or median > store)
    bypassed, not_written = looks.grown("facts.disk.bypassed"), looks.grown("facts.disk.not_written")
    behind = max(bypassed, not_written) > max(FEW, 0.1 * looks.grown("facts.data.fetches")) and not cache_overflows(looks)
    if not (problems or slow or behind):
        return None
    evidence = list(problems)
    evidence += [f"reads of the cache: {spread(reads)}"] if reads["count"] else []
    evidence += [f"{count(bypassed)} reads went to OSS since the disk was busy"] if bypassed else []
    evidence += [f"{count(not_written)} ranges could not be cached in time"] if not_written else []
    return Finding(
        "slow_disk",
        "The disk of the cache (--cache-dir) is slow, full or failing.",
        tuple(evidence),
        ("use a local NVMe disk, or several: --cache-dir DIR:DIR", "without --cache-dir nothing waits for a disk"),
        80,
    )


def little_memory(looks: Looks) -> Finding | None:
    waited, waiting = looks.grown("facts.data.queued"), looks.number("facts.data.waiting_for_memory")
    dropped, ahead = looks.grown("facts.data.dropped_unread"), looks.grown("facts.data.fetched_ahead")
    no_room = looks.grown("facts.data.no_room_ahead")
    thrashing = dropped >= 8 << 20 and dropped > 0.1 * looks.grown("facts.fetch.bytes")
    if not (waiting or waited > 0.01 * reads_of(looks) or thrashing or no_room > 0.5 * max(FEW, ahead)):
        return None
    reason, limit = looks.now("facts.memory.reason"), looks.number("facts.memory.limit")
    allowed = looks.number("facts.memory.slab")
    evidence = [f"{size(allowed)} may be used for file data"]
    evidence += [f"that is less than --memory-limit ({size(limit)}): {reason}"] if reason else []
    evidence += [f"{count(waited)} of {count(reads_of(looks))} reads had to wait for memory"] if waited else []
    evidence += [f"{size(dropped)} that were fetched ahead gave way before they were read"] if dropped else []
    evidence += [f"{count(no_room)} times there was no room to read ahead"] if no_room else []
    return Finding(
        "little_memory",
        "There is too little memory for so many readers: what is fetched gives way before it is read.",
        tuple(evidence),
        (
            "give the container more memory" if reason else "raise --memory-limit (`ossmount restart MOUNTPOINT` does it live)",
            "fewer readers at once, or --cache-dir, so that what gives way is not fetched from OSS again",
        ),
        75,
    )


def cpu_bound(looks: Looks) -> Finding | None:
    cpus = looks.number("facts.cpu.cpus") or 1.0
    spent = {part: looks.rate(f"facts.cpu.{part}") for part in ("daemon", "fetch", "others")}
    late = looks.number("facts.loop.median_ms")
    busiest = spent["daemon"] > 0.85 or sum(spent.values()) > 0.85 * cpus
    if not (busiest or late > 20) or reads_of(looks) < FEW:
        return None
    evidence = [
        f"the mount uses {sum(spent.values()):.2f} of {count(cpus)} CPUs: daemon {spent['daemon']:.2f}, fetch processes "
        f"{spent['fetch']:.2f}, others {spent['others']:.2f}",
        f"the event loop runs {looks.number('facts.loop.median_ms'):.0f} ms late (at worst "
        f"{looks.number('facts.loop.worst_ms'):.0f} ms)",
    ]
    return Finding(
        "cpu",
        "There is too little CPU." if not busiest else "The mount uses all the CPU it can get.",
        tuple(evidence),
        (
            "leave a core or two to the mount: fewer DataLoader workers, or more CPUs for the container",
            "larger files cost less CPU for each byte; --fetch-workers spreads receiving over more processes",
        ),
        70,
    )
