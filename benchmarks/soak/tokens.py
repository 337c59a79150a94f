"""Credentials of STS that soon expire: a file with a new token now and then, as a pod's agent writes it."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

from ossmount.emulator.accounts import Accounts

_LATE = 10  # each tenth token comes only when the one before it has expired: until then OSS refuses every request


class Tokens:
    """Each token is valid for `life` seconds, and followed by another one at half of that, or late. run() is for one thread."""

    def __init__(self, accounts: Accounts, file: Path, life: float) -> None:
        """The first one is written at once."""
        self._accounts = accounts
        self._life = life
        self.file = file
        self.issued = 0
        self._valid: list[str] = []
        self._issue()

    def run(self, stop: threading.Event) -> None:
        """Issues tokens until it is told to stop."""
        while not stop.wait(self._life * (1.1 if self.issued % _LATE == 0 else 0.5)):
            self._issue()

    def _issue(self) -> None:
        """The server forgets all but the last few, as their time is over."""
        self.issued += 1
        identity, secret, token = (f"{kind}{self.issued:08}" for kind in ("STS.soak", "secret-", "token-"))
        expires = time.time() + self._life
        self._accounts.add(identity, secret, token, expires=expires)
        self._valid.append(identity)
        while len(self._valid) > 4:
            self._accounts.remove(self._valid.pop(0))
        document = {
            "AccessKeyId": identity,
            "AccessKeySecret": secret,
            "SecurityToken": token,
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires)),
        }
        new = self.file.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            json.dump(document, file)
        new.rename(self.file)
