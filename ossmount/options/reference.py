"""CONFIGURATION.md, written from the declarations. `python -m ossmount.options.reference` prints it."""

from __future__ import annotations

from typing import Any

from ossmount.exit_codes import MEANINGS, ExitCode
from ossmount.options.declarations import GROUPS, OPTIONS
from ossmount.options.option import Option
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

CREDENTIALS = """## Where credentials come from

Access keys are never options. Without one of the options that name a source, the first of these that has credentials is
taken, and it stays the only one; `ossmount status` says which it is, how long its credentials are valid, and whether renewing
them fails. When none has any, the message lists each of them with the reason.

| source | what it takes |
|---|---|
| `env` | the variables `OSS_ACCESS_KEY_ID`, `OSS_ACCESS_KEY_SECRET` and, \
for temporary keys, `OSS_SECURITY_TOKEN`; \
else `ALIBABA_CLOUD_ACCESS_KEY_ID`, `ALIBABA_CLOUD_ACCESS_KEY_SECRET`, `ALIBABA_CLOUD_SECURITY_TOKEN` |
| `oidc` | RRSA in Kubernetes: the role `ALIBABA_CLOUD_ROLE_ARN`, assumed with \
the token in `ALIBABA_CLOUD_OIDC_TOKEN_FILE` for `ALIBABA_CLOUD_OIDC_PROVIDER_ARN` |
| `file` | `/mnt/.alibabacloud/credentials`, where it exists |
| `profile` | the current profile of the aliyun CLI, or the one that \
`ALIBABA_CLOUD_PROFILE` names; not with `ALIBABA_CLOUD_IGNORE_PROFILE=TRUE` |
| `ossutil` | the access key in `~/.ossutilconfig` |
| `ecs` | the RAM role of the ECS instance; not with `ALIBABA_CLOUD_ECS_METADATA_DISABLED=true` |

The file and what a `credential_process` prints are JSON:
`{"AccessKeyId": "…", "AccessKeySecret": "…", "SecurityToken": "…", "Expiration": "2026-01-01T00:00:00Z"}`, the last two for
temporary credentials only. A source that is set up, but wrongly, is an error and not passed over.

Credentials that expire are renewed in the background, 15 minutes before (or a third of their life, when that is less), some
time earlier at random. When that fails it is tried again, the old ones stay in use, and what OSS then refuses waits for new
ones until its `timeout`.
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
