"""Credentials of a source, and then the store with them."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from ossmount.daemon.build import fill_defaults, source_config
from ossmount.daemon.credentials import credentials_of
from ossmount.doctor.finding import Finding, bad, good, note
from ossmount.doctor.store import Probe, Store
from ossmount.errors import OssMountError
from ossmount.exit_codes import CommandError
from ossmount.options import declarations as options
from ossmount.options.settings import Settings
from ossmount.options.source import Source
from ossmount.oss.credentials.current import renewed
from ossmount.oss.credentials.metadata_service import region_of

_SOON = 600.0  # seconds that credentials should still be valid


def examine(source: Source, settings: Settings, environ: Mapping[str, str]) -> tuple[list[Finding], Probe | None]:
    """Raises UsageError and ValueError for options that cannot be."""
    settings = fill_defaults(settings, environ)
    try:
        credentials = credentials_of(settings, environ)
    except (CommandError, OssMountError) as failure:
        return [bad("credentials", str(failure), "see Credentials in CONFIGURATION.md")], None
    region = region_of(settings[options.ECS_METADATA_ENDPOINT], environ)
    store = Store(source_config(source, settings, credentials), region)

    async def main() -> list[Finding]:
        async with renewed(credentials):
            found = [_credentials(credentials.facts())]
            return found + await trio.to_thread.run_sync(lambda: [*store.findings()])

    try:
        return trio.run(main), store.probe
    finally:
        store.close()


def _credentials(facts: Mapping[str, object]) -> Finding:
    left = facts["expires_in"]
    text = f"{facts['access_key_id'] or 'none: requests are not signed'}, from {facts['provider']}"
    if not isinstance(left, float | int):
        return good("credentials", text)
    if left <= 0:
        return bad(
            "credentials", f"{text}, expired {-left:,.0f} s ago", "renew them at their source: a file must be written anew"
        )
    text += f", valid for {left:,.0f} s"
    if left < _SOON:
        return note("credentials", text, "nothing, where they are renewed by themselves; a file must be written anew in time")
    return good("credentials", text)
