"""Which options contradict each other."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from ossmount.options.declarations import (
    ANONYMOUS,
    CHANNEL,
    CLOSE_TO_OPEN,
    CREDENTIALS_FROM,
    DIRECT_IO,
    MANIFEST,
    METADATA,
    METADATA_DIR,
    METADATA_SNAPSHOT,
    NAMES_SOURCE,
    OPEN,
    PASSTHROUGH,
    RAM_ROLE_ARN,
)
from ossmount.options.declared.option import Option

#: Options that cannot be set together, with what to do about it. A value of None means any value.
CONTRADICTIONS: tuple[tuple[Option[Any], object, Option[Any], object, str], ...] = (
    (OPEN, "skip", CLOSE_TO_OPEN, True, "close_to_open needs to be asked at each open: use open=ask or leave open away"),
    (OPEN, "skip", DIRECT_IO, True, "direct_io needs to be asked at each open: use open=ask or leave open away"),
    (OPEN, "skip", CHANNEL, "pyfuse3", "pyfuse3 needs OPEN: use channel=kernel or leave open away"),
    (OPEN, "skip", PASSTHROUGH, True, "passthrough needs to be asked at each open: use open=ask or leave open away"),
    (DIRECT_IO, True, PASSTHROUGH, True, "passthrough reads by way of the local file's page cache: leave one of the two away"),
    (MANIFEST, None, METADATA_SNAPSHOT, None, "a snapshot holds the whole source: leave one of the two away"),
    (METADATA, "memory", METADATA_DIR, None, "give one of the two: memory uses a folder below /dev/shm"),
    *(
        (ANONYMOUS, True, option, None, "give one of the two: anonymous sends unsigned requests")
        for option in (CREDENTIALS_FROM, *NAMES_SOURCE, RAM_ROLE_ARN)
    ),
    *(
        (one, None, other, None, "each of them names where credentials come from: give one of the two")
        for one, other in combinations(NAMES_SOURCE, 2)
    ),
    *(
        (CREDENTIALS_FROM, source, option, None, f"credentials_from={source} takes nothing from {option.name}")
        for source in ("env", "oidc", "ossutil", "sdk", *NAMES_SOURCE.values())
        for option, own in NAMES_SOURCE.items()
        if own != source and (source, own) != ("sdk", "profile")  # the SDK knows these profiles too
    ),
)
