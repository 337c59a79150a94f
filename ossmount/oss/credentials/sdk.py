"""Credentials of Alibaba Cloud's own SDK (alibabacloud-credentials), for what ossmount has no source of its own.

The SDK runs in a process of its own, which ends once it has printed what it found: importing it takes 0.3 s, its threads and
event loops cannot be ended, and it knows no deadline. Nothing of it is ever in the daemon.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from ossmount.children.environment import python_words
from ossmount.oss.credentials.documents import parse_document
from ossmount.oss.credentials.interface import Issued, NotConfigured, Remote
from ossmount.oss.credentials.process import output_of

#: What only the SDK reads: variables, and a file below the home directory.
URI = "ALIBABA_CLOUD_CREDENTIALS_URI"
VARIABLES = (URI, "ALIBABA_CLOUD_CREDENTIALS_FILE")
INI = Path(".alibabacloud") / "credentials.ini"

_LIMIT = 60.0  # seconds that it may take, with its start on a busy machine
_METADATA_SERVICE = "100.100.100.200"  # never through a proxy


class SdkProvider(Remote):
    """Asks the SDK's default chain, or for one profile of the aliyun CLI, or what answers at one address."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        profile: tuple[Path, str] | None = None,
        uri: str = "",
        proxy: str = "",
        limit: float = _LIMIT,
    ) -> None:
        """profile: the CLI's configuration file and a name in it. limit: seconds. Raises NotConfigured without the SDK."""
        if importlib.util.find_spec("alibabacloud_credentials") is None:
            install = f"{sys.executable} -m pip install 'alibabacloud-credentials >= 1.0.12'"
            raise NotConfigured(f"Alibaba Cloud's SDK is not installed: {install}")
        arguments = ["cli", *map(str, profile)] if profile is not None else ["uri" if uri else "default"]
        self._words = python_words("ossmount.oss.credentials.sdk_process", arguments)
        # not as an argument: an address may hold a secret
        addresses = {URI: uri} if uri else {}
        proxies = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": _METADATA_SERVICE} if proxy else {}
        self._environment = {**environ, **addresses, **proxies}
        self._limit = limit
        self.name = "sdk"

    def obtain(self) -> Issued:
        program = "Alibaba Cloud's SDK"
        output = output_of(self._words, program, self._limit, self._environment)
        issued = parse_document(output, f"what {program} gives")
        self.name = f"sdk ({json.loads(output)['Provider']})"
        return issued
