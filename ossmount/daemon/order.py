"""What a daemon is told to do: one value that crosses from the command to the daemon's process. It carries no secrets."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ossmount.options.settings import Given, Settings
from ossmount.options.source import Source


@dataclass(frozen=True)
class Order:
    """One mount."""

    source: Source
    mountpoint: str  # absolute, as the mount table will show it
    settings: Settings
    state: Path
    log: str = ""  # the file that stderr goes to; "" for a terminal

    def to_json(self) -> str:
        return json.dumps(
            {
                "bucket": self.source.bucket,
                "prefix": os.fsdecode(self.source.prefix),
                "mountpoint": self.mountpoint,
                "options": self.settings.given(),
                "state": str(self.state),
                "log": self.log,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Order:
        value = json.loads(text)
        return cls(
            source=Source(value["bucket"], os.fsencode(value["prefix"])),
            mountpoint=value["mountpoint"],
            settings=Settings({name: Given(*given) for name, given in value["options"].items()}),
            state=Path(value["state"]),
            log=value["log"],
        )
