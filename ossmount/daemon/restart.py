"""What may change at a restart, and what the next daemon is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ossmount.daemon.build import fill_defaults
from ossmount.daemon.order import Order
from ossmount.options import declarations as options
from ossmount.options.declared.option import Option
from ossmount.options.gathering import merge
from ossmount.options.settings import Given, Settings, UsageError
from ossmount.oss.credentials.chain import ROLE_VARIABLES
from ossmount.oss.credentials.environment import FAMILIES

_AGREED = "it was agreed with the kernel when the mount was made"
_STORE = "names and inode numbers would be kept in another place, and the kernel knows those of the old one"
_KEEPER = "the keeper is there for as long as the mount"

#: Options that cannot change while the mount lives, and why.
FIXED: dict[Option[Any], str] = {
    options.ENDPOINT: _STORE,
    options.MANIFEST: _STORE,
    options.NO_SYMLINK: _STORE,
    options.METADATA: _STORE,
    options.METADATA_DIR: _STORE,
    options.ALLOW_OTHER: _AGREED,
    options.CHANNEL: _AGREED,
    options.OPEN: _AGREED,
    options.CLOSE_TO_OPEN: _AGREED,
    options.DIRECT_IO: _AGREED,
    options.MAX_BACKGROUND: _AGREED,
    options.PASSTHROUGH: _AGREED,
    options.FUSE_FD: _AGREED,
    options.NO_KEEPER: _KEEPER,
    options.USER: _KEEPER,
}


def changed(order: Order, given: Mapping[str, Given], environ: Mapping[str, str]) -> Order:
    """The order with other options; what is not given stays. Raises UsageError for one that cannot change."""
    settings = Settings(merge(order.settings.given(), given))
    before, after = fill_defaults(order.settings, environ), fill_defaults(settings, environ)
    for option, why in FIXED.items():
        if before[option] != after[option]:
            was, wanted = option.unit.show(before[option]) or "none", option.unit.show(after[option]) or "none"
            raise UsageError(
                f"{option.flag} cannot change from {was} to {wanted} while mounted: {why}. Unmount and mount again"
            )
    return replace(order, settings=settings)


def handed_on(environment: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """What of the command's environment the new daemon gets instead of the mount's.

    The path of modules, so that it runs the same code as the command; access keys and the variables of roles, each family as
    a whole when it is there.
    """
    names = ["PYTHONPATH", *(name for family in (*FAMILIES, ROLE_VARIABLES) if environ.get(family[0]) for name in family)]
    return {name: environment.get(name, "") for name in names if name in environment or name != "PYTHONPATH"}
