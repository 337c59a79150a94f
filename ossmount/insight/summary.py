"""The numbers of a mount for people: what `ossmount status` and `ossmount top` print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ossmount.durations import merged, quantile
from ossmount.insight.looks import NAMES, Looks, count, moment, percent, size

_MOST_OPERATIONS = 5  # kinds of requests of the kernel that are shown


class Prices(NamedTuple):
    """What 10,000 requests cost, in any currency. OSS bills LIST with the writing requests."""

    get: float = 0.01  # CNY, Standard storage in mainland China: GET, HEAD
    put: float = 0.01  # CNY: LIST


def throughput(looks: Looks) -> list[str]:
    stored = looks.rate("facts.look_ahead.stored")
    files = f"{count(looks.rate('facts.channel.files_read') + stored)} files/s begun"
    lines = [f"{size(looks.rate('facts.channel.bytes_read'))}/s to the kernel, {files}"]
    lines[0] += f" ({count(stored)}/s stored in its page cache ahead)" if stored else ""
    lines.append(f"{size(looks.rate('facts.fetch.bytes'))}/s from OSS")
    if looks.now("facts.disk") is not None:
        lines[-1] += f", {size(looks.rate('facts.disk.bytes_read'))}/s from the cache on disk"
    return lines


def _latency(name: str, facts: Mapping[str, Any], seconds: float) -> str:
    middle, most = moment(quantile(facts, 0.5)), moment(quantile(facts, 0.99))
    return f"{name:<12} {count(facts['count'] / seconds):>9}/s   p50 {middle:>8}   p99 {most:>8}"


def latencies(looks: Looks) -> list[str]:
    """Requests of the kernel by operation, then requests to OSS, then reads of the cache on disk."""
    kernel = sorted(looks.all_durations("facts.channel.durations").items(), key=lambda item: -item[1]["count"])
    lines = [_latency(name, facts, looks.seconds) for name, facts in kernel if name in ("READ", *NAMES)][:_MOST_OPERATIONS]
    first = looks.durations("facts.fetch.durations.first_byte")
    get = looks.durations("facts.fetch.durations.get")
    if get["count"]:
        lines.append(_latency("OSS GET", get, looks.seconds))
        lines.append(_latency("  first byte", first, looks.seconds))
    others = looks.all_durations("facts.oss.durations").items()
    lines += [_latency(f"OSS {kind.upper()}", facts, looks.seconds) for kind, facts in others]
    disk = looks.disk_reads()
    return [*lines, _latency("disk read", disk, looks.seconds)] if disk["count"] else lines


def cost(looks: Looks, prices: Prices) -> tuple[float, float]:
    """What the requests cost since this daemon began, and in an hour as of now."""
    kinds = _kinds(looks)
    price = {kind: (prices.put if kind == "list" else prices.get) / 10_000 for kind in kinds}
    so_far = sum(number * price[kind] for kind, number in kinds.items())
    return so_far, 3600 * sum(looks.rate(f"counters.{kind}") * price[kind] for kind in kinds)


def _kinds(looks: Looks) -> dict[str, int]:
    """Requests to OSS by kind."""
    counters: Mapping[str, Any] = looks.now("counters") or {}
    return {kind: number for kind, number in counters.items() if isinstance(number, int)}


def requests(looks: Looks, prices: Prices) -> list[str]:
    """Of all kinds since the mount, those a second, and what they cost."""
    kinds = _kinds(looks)
    shown = [f"{kind.upper()} {number:,} ({count(looks.rate(f'counters.{kind}'))}/s)" for kind, number in kinds.items()]
    so_far, hourly = cost(looks, prices)
    lines = [", ".join(shown) or "none", f"cost about {so_far:.4g} since this daemon began, {hourly:.4g} an hour as of now"]
    if prices == Prices():
        lines[1] += " (CNY, list prices)"
    lines.append(
        f"{count(looks.number('facts.fetch.outstanding'))} fetches under way, "
        f"{count(looks.grown('facts.fetch.retries', 'facts.oss.retries'))} repeated, "
        f"{count(looks.grown('facts.fetch.throttled'))} throttled, {count(looks.grown('facts.fetch.timeouts'))} stalled"
    )
    return lines


def caches(looks: Looks) -> list[str]:
    """What needed no request, by cache. What the kernel answers by itself is seen by nobody."""
    hits, joined, misses = (looks.grown(f"facts.data.{name}") for name in ("hits", "joined", "misses"))
    lines = []
    if reads := hits + joined + misses:
        shares = (percent(number / reads) for number in (hits, joined, misses))
        lines.append("reads: {} in memory, {} on their way, {} fetched".format(*shares))
    found, missed = looks.grown("facts.disk.hits"), looks.grown("facts.disk.misses", "facts.disk.bypassed")
    partly = looks.grown("facts.disk.partial_hits")
    if found + partly + missed:
        lines.append(f"disk: {percent(looks.share(found, partly, missed))} of {count(found + partly + missed)} fetches")
    names = sum(looks.table("facts.metadata.cache.hits").values())
    causes = looks.causes("facts.metadata.cache.misses")
    if asked := names + sum(causes.values()):
        why = ", ".join(f"{count(number)} {cause}" for cause, number in causes.items())
        lines.append(f"names: {percent(names / asked)} known of {count(asked)}" + (f" (else: {why})" if why else ""))
    return lines or ["nothing was asked"]


def prefetch(looks: Looks) -> list[str]:
    ahead, dropped = looks.grown("facts.data.fetched_ahead"), looks.grown("facts.data.dropped_unread")
    lines = [f"readahead: {count(ahead)} ranges, {size(dropped)} dropped unread"]
    facts: Mapping[str, Any] = looks.now("facts.look_ahead") or {}
    if facts:
        state = "an order is told" if facts["lists"] else "by epoch" if facts["epoch"] else "on" if facts["on"] else "off"
        done = looks.grown("facts.look_ahead.fetched", "facts.look_ahead.stored")
        lines.append(f"whole files ahead: {state}, {count(facts['under_way'])} under way, {count(done)} done")
    return lines


def memory(looks: Looks) -> list[str]:
    facts: Mapping[str, Any] = looks.now("facts.memory") or {}
    if not facts:
        return ["unknown"]
    line = f"{size(facts['used_slab'])} of {size(facts['slab'])} for file data, {size(facts['used_beside'])} beside it"
    if facts["reason"]:
        line += f" (limit {size(facts['limit'])}: {facts['reason']})"
    waits = looks.number("facts.data.waiting_for_memory")
    return [line + (f"; {count(waits)} reads wait for memory" if waits else "")]


def cpu(looks: Looks) -> list[str]:
    spent = [f"{part} {looks.rate(f'facts.cpu.{part}'):.2f}" for part in ("daemon", "fetch", "others")]
    return [f"{', '.join(spent)} of {count(looks.number('facts.cpu.cpus'))}"]


def errors(looks: Looks) -> list[str]:
    """Of programs, by errno."""
    total: Mapping[str, Any] = looks.now("facts.channel.errors") or {}
    new = looks.table("facts.channel.errors")
    if not total:
        return ["none"]
    shown = [f"{name} {number:,}" + (f" ({count(new[name])} new)" if name in new else "") for name, number in total.items()]
    return [", ".join(shown)]


def credentials(looks: Looks) -> list[str]:
    left = looks.number("facts.credentials.expires_in") if looks.now("facts.credentials.expires_in") is not None else None
    if left is None:
        return ["they do not expire, as far as is known"]
    return [f"good for {moment(left) if left < 100 else f'{left / 60:,.0f} min'} more" if left > 0 else "EXPIRED"]


def sections(looks: Looks, prices: Prices) -> list[tuple[str, list[str]]]:
    """All of it: (title, lines)."""
    return [
        ("throughput", throughput(looks)),
        ("latency", latencies(looks) or ["no request yet"]),
        ("requests", requests(looks, prices)),
        ("caches", caches(looks)),
        ("prefetch", prefetch(looks)),
        ("memory", memory(looks)),
        ("cpu", cpu(looks)),
        ("errors", errors(looks)),
        ("credentials", credentials(looks)),
    ]


def as_numbers(looks: Looks, prices: Prices) -> dict[str, Any]:
    """The same for programs: one line of `ossmount top --json`. Rates are for each second, durations in seconds."""
    kernel, oss = looks.all_durations("facts.channel.durations"), looks.all_durations("facts.oss.durations")
    get = looks.durations("facts.fetch.durations.get")

    def short(facts: Mapping[str, Any]) -> dict[str, Any]:
        return {"rate": facts["count"] / looks.seconds, "p50": quantile(facts, 0.5), "p99": quantile(facts, 0.99)}

    so_far, hourly = cost(looks, prices)
    disk = {name: looks.rate(f"facts.disk.{name}") for name in ("hits", "partial_hits", "misses", "bypassed")}
    ahead = {name: looks.now(f"facts.look_ahead.{name}") for name in ("on", "epoch", "lists", "under_way")}
    return {
        "seconds": round(looks.seconds, 3),
        "bytes_to_kernel": looks.rate("facts.channel.bytes_read"),
        "bytes_from_oss": looks.rate("facts.fetch.bytes"),
        "bytes_from_disk": looks.rate("facts.disk.bytes_read"),
        "files": looks.rate("facts.channel.files_read") + looks.rate("facts.look_ahead.stored"),
        "kernel": {name: short(facts) for name, facts in kernel.items()},
        "oss": {**{kind: short(facts) for kind, facts in oss.items()}, "get": short(get)},
        "disk": {**short(merged([looks.disk_reads()])), **disk},
        "requests": {kind: looks.rate(f"counters.{kind}") for kind in _kinds(looks)},
        "cost": {"since_start": so_far, "hourly": hourly},
        "throttled": looks.rate("facts.fetch.throttled"),
        "retries": looks.rate("facts.fetch.retries", "facts.oss.retries"),
        "prefetch": {"ranges": looks.rate("facts.data.fetched_ahead"), **ahead},
        "credentials_seconds_left": looks.now("facts.credentials.expires_in"),
        "cpu": {part: looks.rate(f"facts.cpu.{part}") for part in ("daemon", "fetch", "others")},
        "reads": {name: looks.rate(f"facts.data.{name}") for name in ("hits", "joined", "misses")},
        "errors": looks.table("facts.channel.errors"),
        "outstanding": looks.number("facts.fetch.outstanding"),
        "memory": {name: looks.now(f"facts.memory.{name}") for name in ("slab", "used_slab", "used_beside", "reason")},
    }
