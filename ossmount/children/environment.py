"""What the processes beside the daemon have in their environment. Standard library only: commands use it too."""

from __future__ import annotations

import os


def bare_environment() -> dict[str, str]:
    """What a process of ours needs to start, and no access keys."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
