"""The profiles: what --profile sets. What is written anywhere else goes before it, and so does what would contradict it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ossmount.options import declarations as options
from ossmount.options.declared.option import Option
from ossmount.options.rules import CONTRADICTIONS
from ossmount.options.settings import Given

ORIGIN = "profile "  # and its name: where a value came from


class Profile(NamedTuple):
    """One way of use."""

    purpose: str
    values: Mapping[str, str]  # by option name, as the command line would write them


PROFILES: dict[str, Profile] = {
    "training": Profile(
        "A data set that nobody changes while it is read, epoch after epoch: nothing is asked of OSS twice. What changes all "
        "the same is seen after `ossmount refresh`.",
        {"attr_timeout": "inf", "entry_timeout": "inf", "negative_timeout": "inf"},
    ),
    "shared": Profile(
        "Others write what this mount reads: each open(2) sees the version that is current then (close-to-open), new names "
        "are seen within 3 s.",
        {"close_to_open": "true", "attr_timeout": "3", "entry_timeout": "3", "negative_timeout": "0"},
    ),
    "fresh": Profile(
        "Every lookup, stat and open asks OSS: nothing of names and attributes is believed. For small trees, code and "
        "checkpoints that are waited for.",
        {"attr_timeout": "0", "entry_timeout": "0", "negative_timeout": "0"},
    ),
    "inference": Profile(
        "A few large files, loaded as quickly as possible, often by mmap: with cache_dir (root, Linux 6.9) what lies whole in "
        "the cache is read by the kernel itself from its second opening on.",
        {"passthrough": "true", "attr_timeout": "10m", "entry_timeout": "10m", "negative_timeout": "1m"},
    ),
}


def with_profile(given: Mapping[str, Given]) -> dict[str, Given]:
    """What was given, and what its profile sets beside it; what an earlier profile had set is left out."""
    own = explicit(given)
    chosen = own.get(options.PROFILE.name)
    profile = None if chosen is None else PROFILES.get(chosen.text)  # a wrong name is told with all other wrong values
    if profile is None or chosen is None:
        return own
    added = {
        name: Given(text, ORIGIN + chosen.text)
        for name, text in profile.values.items()
        if name not in own and not _contradicted(name, text, own)
    }
    return {**own, **added}


def explicit(given: Mapping[str, Given]) -> dict[str, Given]:
    """What was written, without what profiles set."""
    return {name: one for name, one in given.items() if not one.origin.startswith(ORIGIN)}


def _contradicted(name: str, text: str, own: Mapping[str, Given]) -> bool:
    """Whether something that was written rules out this value of an option."""
    pairs = [((first, one), (second, other)) for first, one, second, other, _ in CONTRADICTIONS]
    return any(
        mine.name == name and other.name in own and _holds(mine, text, value) and _holds(other, own[other.name].text, wanted)
        for pair in pairs
        for (mine, value), (other, wanted) in (pair, pair[::-1])
    )


def _holds(option: Option[Any], text: str, value: object) -> bool:
    """Whether a text is this value; None stands for any."""
    try:
        return value is None or bool(option.unit.parse(text) == value)
    except ValueError:
        return False  # which is told elsewhere
