"""What has happened to the mount in the soak, beside what a day of training does to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What is counted, and where `ossmount status --json` has it: paths whose numbers are added up; "*" stands for any name.
_COUNTED: dict[str, tuple[str, ...]] = {
    "answers that had expired": ("facts.metadata.cache.misses.*.expired", "facts.metadata.cache.misses.*.stale"),
    "renewals of credentials": ("facts.credentials.refreshes",),
    "FORGETs (batches count once)": ("counters.kernel.FORGET", "counters.kernel.BATCH_FORGET"),
    "names and inodes that the kernel was told of": (
        "facts.channel.notifications.entries.queued",
        "facts.channel.notifications.nodes.queued",
    ),
    "versions pruned from the metadata store": ("facts.metadata.pruned",),
    "pages dropped from memory": ("facts.data.pages_dropped",),
    "files evicted from the cache on disk": ("facts.disk.directories.*.evicted",),
    "bytes evicted from the cache on disk": ("facts.disk.directories.*.evicted_bytes",),
    "bytes fetched from OSS": ("facts.fetch.bytes",),
    "GETs": ("counters.get",),
    "LISTs": ("counters.list",),
    "HEADs": ("counters.head",),
    "READs of the kernel": ("counters.kernel.READ",),
    "LOOKUPs of the kernel": ("counters.kernel.LOOKUP",),
}


def events(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, int]:
    """How often each thing has happened between two answers of `ossmount status --json`."""
    return {
        name: sum(_total(after, path.split(".")) - _total(before, path.split(".")) for path in paths)
        for name, paths in _COUNTED.items()
    }


def evicted(status: Mapping[str, Any]) -> int:
    """Files that have made room for others in the cache on disk."""
    return _total(status, ["facts", "disk", "directories", "*", "evicted"])


def _total(value: Any, path: list[str]) -> int:
    """0 for what has not been counted yet: some names come with the first event."""
    if not path:
        return int(value)
    first, *rest = path
    if first == "*":
        return sum(_total(each, rest) for each in value.values())
    return _total(value[first], rest) if first in value else 0
