"""How the processes beside the daemon begin: their command line and their environment. Standard library only: commands use it
too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import ossmount


def bare_environment() -> dict[str, str]:
    """What a process of ours needs to start, and no access keys."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


def python_words(module: str, arguments: Sequence[str]) -> list[str]:
    """The command line that runs main(*arguments) of a module, by this very ossmount and with what this process can import.

    -I and -S: no user's site directory, no .pth files, nothing but our own path; that halves the start.
    """
    start = f"import sys; sys.path += sys.argv[{1 + len(arguments)}:]; from {module} import main; "
    start += f"main(*sys.argv[1:{1 + len(arguments)}])"
    root = Path(ossmount.__file__).resolve().parent.parent  # an editable installation is on no path
    return [sys.executable, "-I", "-S", "-c", start, *arguments, str(root), *filter(None, sys.path)]
