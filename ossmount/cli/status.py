"""`ossmount status`: asks the daemons over their control sockets, and never touches a mount."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

from ossmount.channel import request_timeout
from ossmount.channel.mounting import find_mount, resolve
from ossmount.cli import health
from ossmount.control.client import ControlError, ask
from ossmount.control.registry import Record, Registry
from ossmount.control.state import state_directory
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.printable import printable

DESCRIPTION = """Shows the mounts of this user. With MOUNTPOINT only that one: whether it is healthy, its rates,
latencies and hit ratios of the last minute, requests, memory, errors; with --all also every
option with its origin and every counter, with --json the same for programs.

--health and --ready say nothing but one line and answer at once, for containers: --health
succeeds while the mount's processes live (also while OSS cannot be reached, and while a
daemon that died is being replaced), --ready while OSS answers as well."""

_PATIENCE = 5.0  # seconds for the answer of one daemon


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="only this mount")
    parser.add_argument("--json", action="store_true", help="one JSON object; without MOUNTPOINT a list of them")
    parser.add_argument("--all", action="store_true", help="also every option and every counter")
    parser.add_argument("--health", action="store_true", help="exit with 0 while keeper and daemon of MOUNTPOINT live")
    parser.add_argument("--ready", action="store_true", help="exit with 0 while OSS answers MOUNTPOINT, too")


def run(arguments: argparse.Namespace) -> int:
    registry = Registry(state_directory(os.environ, os.geteuid()))
    if arguments.health or arguments.ready:
        if arguments.mountpoint is None:
            raise CommandError(ExitCode.USAGE, "--health and --ready are about one mount: name its MOUNTPOINT")
        return health.run(registry, resolve(arguments.mountpoint), ready=arguments.ready, as_json=arguments.json)
    if arguments.mountpoint is None:
        return _all(registry, arguments.json)
    record = registry.find(resolve(arguments.mountpoint))
    status = None if record is None else look_at(registry, record, before=not arguments.json)
    if status is None:
        raise CommandError(ExitCode.NOT_MOUNTED, f"{arguments.mountpoint}: no mount of yours; `ossmount status` lists them")
    print(json.dumps(status, indent=2) if arguments.json else text_of(status, everything=arguments.all))
    return ExitCode.NOT_MOUNTED if status["state"] in ("dead", "failed") else ExitCode.OK


def _all(registry: Registry, as_json: bool) -> int:
    found = [status for record in registry.records() if (status := look_at(registry, record)) is not None]
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(text_of(status, short=True) for status in found) or "nothing is mounted")
    return ExitCode.OK


def look_at(registry: Registry, record: Record, *, before: bool = False) -> dict[str, Any] | None:
    """What is known of a mount; None when nothing is left of it (its record is removed then). before: with the numbers of a
    minute ago.

    state: serving; detached (lazily unmounted, still in use); silent (the daemon runs but does not answer); restarting (the
    keeper starts another daemon); failed (it has given that up: everything is EIO); dead (the daemon is gone, the broken mount
    is still there).
    """
    mounted = find_mount(record.mountpoint) is not None
    base = {"source": record.source, "mountpoint": record.mountpoint, "daemon_pid": record.pid, "log": record.log}
    if record.kept() and not record.runs():
        return {**base, **_ask_keeper(record)}
    if not record.alive():
        if mounted:
            return {**base, "state": "dead", "problem": f"its daemon is gone: ossmount umount {record.mountpoint}"}
        registry.remove(record)
        return None
    try:
        answer = ask(record.socket, "status", timeout=_PATIENCE, before=before)
    except ControlError as error:
        if not record.runs():
            return look_at(registry, record, before=before)
        return {**base, "state": "silent", "problem": str(error), "uptime": round(time.time() - record.started, 3)}
    return {"state": "serving" if mounted else "detached", **answer, "warnings": _warnings(answer)}


def _warnings(answer: dict[str, Any]) -> list[str]:
    """What will go wrong with a mount that works."""
    deadline = answer.get("options", {}).get("timeout", {}).get("value")
    found = [request_timeout.warning(float(deadline))] if deadline else []
    found += answer.get("facts", {}).get("metadata", {}).get("store", {}).get("warnings", ())
    return [warning for warning in found if warning]


def _ask_keeper(record: Record) -> dict[str, Any]:
    """Of a mount whose last daemon has ended."""
    keeper = {"keeper_pid": record.keeper_pid}
    try:
        answer = ask(record.keeper_socket, "status", timeout=_PATIENCE)
    except ControlError as error:
        return {**keeper, "state": "restarting", "problem": f"its daemon is gone, and the keeper cannot be asked: {error}"}
    if answer["state"] == "failed":
        advice = f"ossmount restart {record.mountpoint} tries again, ossmount umount takes it away"
        return {**keeper, "state": "failed", "problem": f"{answer['problem']}; {advice}"}
    return {**keeper, "state": "restarting", "problem": "its daemon is gone, another one is being started"}


def text_of(status: dict[str, Any], *, short: bool = False, everything: bool = False) -> str:
    """The same for people. everything: all options and counters, too."""
    lines = [f"{status['source']} at {status['mountpoint']}: {status['state']}"]
    if "problem" in status:
        lines.append(f"  {status['problem']}")
    if "uptime" in status:
        lines[0] += f" for {duration(status['uptime'])}"
    if "channel" not in status or short:
        return "\n".join(lines)
    workers = ", ".join(map(str, status["fetch_pids"])) or "none"
    lines += [
        f"  channel   {status['channel']}: {status['channel_reason']}",
        f"  daemon    {status['daemon_pid']}, fetch processes {workers}, keeper {status['keeper_pid'] or 'none'}",
        f"  log       {status['log'] or 'the terminal'}",
        f"  keys      {credentials_text(status['facts'].get('credentials', {}))}",
        f"  memory    {memory_text(status['facts'].get('memory', {}))}",
        f"  limits    {limits_text(status['facts'].get('rates', {}))}",
        *(f"  warning   {warning}" for warning in status.get("warnings", ())),
        *_summary(status),
        "  options",
    ]
    for name, option in status["options"].items():
        if everything or option["origin"] != "default":
            lines.append(f"    {name} = {option['value'] or 'none'}  ({option['origin']})")
    if everything:
        lines += ["  counters", *_tree(status["counters"], "    "), "  details", *_tree(status["facts"], "    ")]
    return "\n".join(lines)


def _summary(status: dict[str, Any]) -> list[str]:
    """Whether it is healthy, and its numbers."""
    from ossmount.insight import rules, summary
    from ossmount.insight.looks import Looks

    looks = Looks(status.get("before"), status)
    found = [finding for finding in rules.findings(looks) if finding.weight]
    verdict = f"{found[0].title} (ossmount explain {status['mountpoint']})" if found else "nothing is wrong"
    lines = [f"  health    {verdict}", f"  of the {looks.window}:"]
    for title, content in summary.sections(looks, summary.Prices()):
        if title not in ("memory", "cpu"):
            lines += [f"    {title if not index else '':<12}{line}" for index, line in enumerate(content)]
    return lines


def memory_text(facts: dict[str, Any]) -> str:
    """How much memory file data may take, and why it is not more."""
    if not facts:
        return "unknown"
    may = f"{_size(facts['slab'])} for file data"
    if facts["reason"]:
        may += f" instead of {_size(facts['limit'])} ({facts['reason']}"
        may += ")" if facts["look_ahead"] else "; no whole files are fetched ahead)"
    used = f"{_size(facts['used_slab'])} in use, {_size(facts['used_beside'])} beside it"
    return f"{may}, {used}; {_size(facts['available'])} of {_size(facts['total'])} available"


def credentials_text(facts: dict[str, Any]) -> str:
    """Where the credentials come from, how long they are valid, and whether renewing them fails."""
    if not facts:
        return "unknown"
    left = facts["expires_in"]
    text = f"from {facts['provider']}"
    if facts["access_key_id"]:
        text += f", {facts['access_key_id']}"
    if left is not None:
        text += f", valid for {duration(left)}" if left > 0 else f", expired {duration(-left)} ago"
        text += f", renewed {duration(facts['last_refresh'])} ago"
    if facts["failing"]:
        text += f"; cannot be renewed ({facts['failures']:,} failures): {facts['last_error']}"
    return text


def limits_text(facts: dict[str, Any]) -> str:
    """What is asked of OSS in a second at most, by the user's will and by OSS's."""
    said = [f"{facts['limit_requests']:,} requests/s"] if facts.get("limit_requests") else []
    said += [f"{_size(facts['limit_bandwidth'])}/s"] if facts.get("limit_bandwidth") else []
    text = ", ".join(said) or "none"
    if facts.get("learned_requests"):
        text += f"; OSS refuses more than {facts['learned_requests']:,.0f} requests/s"
    waiting = facts.get("wanted_requests", 0)
    return text + (f"; {waiting:,} requests wait" if waiting else "")


def _size(size: float) -> str:
    """Bytes as people say them: 512 MiB, 1.5 GiB."""
    if size < 1 << 30:
        return f"{size / (1 << 20):.0f} MiB"
    return f"{size / (1 << 30):.3g} GiB"


def _tree(values: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *_tree(value, indent + "  ")] if value else []
        else:
            lines.append(f"{indent}{name} = {value:,}" if type(value) is int else f"{indent}{name} = {printable(str(value))}")
    return lines


def duration(seconds: float) -> str:
    """Seconds as people say them: 5 s, 3 min, 2 h 5 min, 3 d 4 h."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if not minutes:
        return f"{int(seconds)} s"
    if not hours:
        return f"{minutes} min"
    if not days:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"
