"""CONFIGURATION.md, written from the declarations. `python -m ossmount.options.reference` prints it."""

from __future__ import annotations

from typing import Any

from ossmount.exit_codes import MEANINGS, ExitCode
from ossmount.options.declarations import GROUPS, OPTIONS
from ossmount.options.declared.option import Option
from ossmount.options.rules import ALWAYS_SO

HEAD = """# Configuration

<!-- Written by `python -m ossmount.options.reference`; a test compares. Change ossmount/options/ instead. -->

Every option of `ossmount mount` can be given in three ways, and each has one name in three spellings:

| where | spelling | example |
|---|---|---|
| command line | `--x-y VALUE` | `--memory-limit 512M` |
| mount option | `-o x_y=VALUE`, several with commas | `-o memory_limit=512M,allow_other` |
| environment | `OSSMOUNT_X_Y=VALUE` | `OSSMOUNT_MEMORY_LIMIT=512M` |

The command line (in either spelling) goes before the environment. Two different values for one option on the command line
are an error, and so is a name that does not exist. `ossmount status MOUNTPOINT` shows each value and where it came from.

Sizes are bytes, or a number with `K`, `M`, `G` or `T` (powers of 1024). Times are seconds, or a number with `ms`, `s`, `m`,
`h` or `d`; `inf` where it makes sense. Switches are true when they are named; `false` switches them off again.
"""

CREDENTIALS = """## Credentials

Access keys are never options. They are taken from the file named by `--credentials`, else from the environment:

| variable | meaning |
|---|---|
| `OSS_ACCESS_KEY_ID` | access key id |
| `OSS_ACCESS_KEY_SECRET` | access key secret |
| `OSS_SECURITY_TOKEN` | token of temporary (STS) credentials |

The file is JSON: `{"AccessKeyId": "…", "AccessKeySecret": "…", "SecurityToken": "…", "Expiration": "2026-01-01T00:00:00Z"}`,
the last two for temporary credentials only. It is read again when it changes.
"""

STATE = """## State

What the commands know of running mounts (one small file and one socket for each, and the logs of background daemons) lies
in `/run/ossmount` for root, else in `$XDG_RUNTIME_DIR/ossmount`, else in `/tmp/ossmount-UID`. Only its owner may look into
it. `OSSMOUNT_STATE_DIR` names another place; give it to all commands alike.
"""


def _row(option: Option[Any]) -> str:
    value = "" if option.is_switch else f"={option.unit.metavar}".replace("|", "\\|")
    default = option.default_text or "none"
    names = [*(f"`-o {alias}`" for alias in option.aliases), *(f"`{variable}`" for variable in option.variables)]
    also = f" Also accepted: {', '.join(names)}." if names else ""
    return f"| `{option.name}{value}` | {default} | {option.help}{also} |"


def markdown() -> str:
    """The whole of CONFIGURATION.md."""
    parts = [HEAD]
    for group in GROUPS:
        rows = "\n".join(_row(option) for option in OPTIONS if option.group == group)
        parts.append(f"## {group}\n\n| option | default | meaning |\n|---|---|---|\n{rows}\n")
    always = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in ALWAYS_SO.items())
    parts.append(
        "## Accepted behind -o because they are always so\n\n| name | meaning |\n|---|---|\n" + always + "\n\n"
        "`rw`, `suid` and `dev` are refused.\n"
    )
    parts += [CREDENTIALS, STATE]
    codes = "\n".join(f"| {int(code)} | {MEANINGS[code]} |" for code in ExitCode)
    parts.append(f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(markdown(), end="")
