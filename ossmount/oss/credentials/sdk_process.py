"""The process in which Alibaba Cloud's SDK runs: prints the credentials that it finds as a JSON object, and ends."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from ossmount.children.shield import shield

_LONGEST = 120  # seconds; whoever has started it ends it long before, unless he has died
_CLASS = re.compile(r"\b(\w+)CredentialsProvider\b")


def main(source: str, *arguments: str) -> None:
    """source: of those in _provider(). Ends the process."""
    shield()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_LONGEST)
    logging.disable(logging.CRITICAL)  # the SDK logs whole answers
    warnings.simplefilter("ignore")
    try:
        found = _ask(source, arguments)
    except Exception as error:  # of whatever kind: requests', the SDK's own, ValueError for what is written in a file
        print(_said(error), file=sys.stderr, flush=True)
        os._exit(1)
    print(json.dumps(found), flush=True)
    os._exit(0)  # the SDK's threads would hold it up


def _ask(source: str, arguments: Sequence[str]) -> dict[str, str]:
    ends = _note_ends()
    found = _provider(source, arguments).get_credentials()
    end = ends.get(found.get_access_key_id())
    return {
        "AccessKeyId": found.get_access_key_id() or "",
        "AccessKeySecret": found.get_access_key_secret() or "",
        "SecurityToken": found.get_security_token() or "",
        "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)) if end else "",
        "Provider": found.get_provider_name() or "",
    }


def _provider(source: str, arguments: Sequence[str]) -> Any:
    """default: the chain. cli FILE PROFILE: a profile of the aliyun CLI. uri: what ALIBABA_CLOUD_CREDENTIALS_URI names."""
    from alibabacloud_credentials import provider

    if source == "cli":
        file, profile = arguments
        return provider.CLIProfileCredentialsProvider(profile_file=file, profile_name=profile)
    return provider.URLCredentialsProvider() if source == "uri" else provider.DefaultCredentialsProvider()


def _note_ends() -> dict[str, int]:
    """When what the SDK makes ends, by access key id, in seconds since the epoch.

    Its default chain and its profiles pass credentials on without their end, and know no other way to ask for it.
    """
    from alibabacloud_credentials.provider.refreshable import Credentials

    ends: dict[str, int] = {}
    make = Credentials.__init__

    def note(made: object, **fields: object) -> None:
        make(made, **fields)
        end = fields.get("expiration")
        if isinstance(end, int) and end > 0:
            ends[str(fields.get("access_key_id"))] = end

    Credentials.__init__ = note
    return ends


def _said(error: Exception) -> str:
    """One line, with the SDK's classes as words: what is as long as a key will be masked."""
    words = _CLASS.sub(lambda found: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", found[1]), str(error))
    return " ".join(words.split()) or type(error).__name__
