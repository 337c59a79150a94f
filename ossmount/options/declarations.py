"""The options of `ossmount mount`: all that the modules of ossmount.options.declared declare, each once.

An option named x_y is written --x-y on the command line, x_y behind -o, OSSMOUNT_X_Y in the environment, and x_y in a
configuration file.
"""

from __future__ import annotations

from typing import Any

from ossmount.options.declared.caching import *  # noqa: F403
from ossmount.options.declared.credentials import *  # noqa: F403
from ossmount.options.declared.data import *  # noqa: F403
from ossmount.options.declared.kernel import *  # noqa: F403
from ossmount.options.declared.observing import *  # noqa: F403
from ossmount.options.declared.option import CACHING, DATA, IDENTITY, KERNEL, RUNNING, SOURCE, VIEW, WHENCE, Option
from ossmount.options.declared.running import *  # noqa: F403
from ossmount.options.declared.source import *  # noqa: F403
from ossmount.options.declared.view import *  # noqa: F403
from ossmount.options.declared.whence import *  # noqa: F403

#: As help and documents show them.
GROUPS: tuple[str, ...] = (WHENCE, SOURCE, IDENTITY, VIEW, CACHING, DATA, KERNEL, RUNNING)
#: Group by group, in each as they are declared.
OPTIONS: tuple[Option[Any], ...] = tuple(
    sorted((one for one in list(globals().values()) if isinstance(one, Option)), key=lambda one: GROUPS.index(one.group))
)
BY_NAME: dict[str, Option[Any]] = {option.name: option for option in OPTIONS}
