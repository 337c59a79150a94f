"""`ossmount status`: asks the daemons over their control sockets, and never touches a mount."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

from ossmount.channel import request_timeout
from ossmount.channel.mounting import find_mount, resolve
from ossmount.control.client import ControlError, ask
from ossmount.control.registry import Record, Registry
from ossmount.control.state import state_directory
from ossmount.exit_codes import CommandError, ExitCode

DESCRIPTION = """Shows the mounts of this user: source, channel, options and where each came from,
processes, and counters of requests. With MOUNTPOINT only that one, with --json for programs."""

_PATIENCE = 5.0  # seconds for the answer of one daemon


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="only this mount")
    parser.add_argument("--json", action="store_true", help="one JSON object; without MOUNTPOINT a list of them")


def run(arguments: argparse.Namespace) -> int:
    registry = Registry(state_directory(os.environ, os.geteuid()))
    if arguments.mountpoint is None:
        return _all(registry, arguments.json)
    record = registry.find(resolve(arguments.mountpoint))
    status = None if record is None else look_at(registry, record)
    if status is None:
        raise CommandError(ExitCode.NOT_MOUNTED, f"{arguments.mountpoint}: no mount of yours; `ossmount status` lists them")
    print(json.dumps(status, indent=2) if arguments.json else text_of(status))
    return ExitCode.NOT_MOUNTED if status["state"] in ("dead", "failed") else ExitCode.OK


def _all(registry: Registry, as_json: bool) -> int:
    found = [status for record in registry.records() if (status := look_at(registry, record)) is not None]
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(text_of(status, short=True) for status in found) or "nothing is mounted")
    return ExitCode.OK


def look_at(registry: Registry, record: Record) -> dict[str, Any] | None:
    """What is known of a mount; None when nothing is left of it (its record is removed then).

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
        answer = ask(record.socket, "status", timeout=_PATIENCE)
    except ControlError as error:
        if not record.runs():
            return look_at(registry, record)
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


def text_of(status: dict[str, Any], *, short: bool = False) -> str:
    """The same for people."""
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
        "  counters",
        *_tree(status["counters"], "    "),
        "  options",
    ]
    for name, option in status["options"].items():
        lines.append(f"    {name} = {option['value'] or 'none'}  ({option['origin']})")
    lines += ["  details", *_tree(status["facts"], "    ")]
    return "\n".join(lines)


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
            lines.append(f"{indent}{name} = {value:,}" if type(value) is int else f"{indent}{name} = {value}")
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
