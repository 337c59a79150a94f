"""CONFIGURATION.md, written from the declarations. `python -m ossmount.options.reference` prints it."""

from __future__ import annotations

from typing import Any

from ossmount.exit_codes import MEANINGS, ExitCode
from ossmount.options.declarations import GROUPS, OPTIONS
from ossmount.options.declared.option import Option
from ossmount.options.foreign import FOREIGN
from ossmount.options.profiles import PROFILES

HEAD = """# Configuration

<!-- Written by `python -m ossmount.options.reference`; a test compares. Change ossmount/options/ instead. -->

Every option of `ossmount mount` has one name in four spellings. What stands further up goes before what stands below it:

| where | spelling | example |
|---|---|---|
| command line | `--x-y VALUE` | `--memory-limit 512M` |
| mount option | `-o x_y=VALUE`, several with commas | `-o memory_limit=512M,allow_other` |
| environment | `OSSMOUNT_X_Y=VALUE` | `OSSMOUNT_MEMORY_LIMIT=512M` |
| configuration file | `x_y = VALUE` (TOML) | `memory_limit = "512M"` |
| profile | `--profile NAME` | `--profile training` |
| default | | |

Two different values for one option on the command line (`--x-y` and `-o`) are an error, and so is a name that does not exist.
`ossmount config show` shows what a mount would get and where each value comes from, `ossmount status MOUNTPOINT` what it has.

Sizes are bytes, or a number with `K`, `M`, `G` or `T` (powers of 1024). Times are seconds, or a number with `ms`, `s`, `m`,
`h` or `d`; `inf` where it makes sense. Switches are true when they are named; `false` switches them off again.
"""

PROFILES_HEAD = """## Profiles

A profile sets what nothing else sets. What is written for an option goes before it, and a value of a profile that would
contradict what is written is left out.
"""

FILES = """## Configuration files

`--config imagenet` reads `/etc/ossmount/imagenet.toml`, `--config ./mine.toml` that file. It holds options at the top level
(no sections), and the source and the mountpoint where the command line shall not need to name them:

```toml
source = "oss://my-bucket/imagenet"
mountpoint = "/mnt/imagenet"
endpoint = "oss-cn-hangzhou-internal.aliyuncs.com"
profile = "training"
cache_dir = ["/nvme0/cache", "/nvme1/cache"]
allow_other = true
umask = "022"
```

`ossmount config init FILE` writes one with every option explained, `ossmount config check FILE` names everything that is wrong
in one. Access keys and passwords are refused in it, relative paths too, and a file that everybody may write to.
"""

FSTAB = """## mount(8) and fstab

`ossmount install-mount-helper`, once and as root, puts `mount.ossmount` into `/sbin`. From then on:

```
mount -t ossmount oss://my-bucket/imagenet /mnt/imagenet -o config=imagenet
umount /mnt/imagenet
```

and a line of `/etc/fstab`, mounted at boot, or (with `noauto,x-systemd.automount`) when somebody first looks into it:

```
oss://my-bucket/imagenet /mnt/imagenet ossmount config=imagenet,_netdev,nofail,x-systemd.automount 0 0
```

At boot there is no environment with access keys: let the file name them (`credentials = "/etc/ossmount/keys.json"`). Options
that are mount(8)'s or systemd's (`noauto`, `nofail`, `_netdev`, `users`, `x-...`) change nothing here, `rw`, `suid` and `dev`,
which mount(8) says where a line says nothing, are left away, and the exit code is one of mount(8)'s: 1 for a wrong line, 32 for
a mount that failed. mount(8) takes `user=NAME` for its own `user`: write `user` into the file.
"""

FOREIGN_HEAD = """## Names of other file systems

They are understood behind `-o` (also as `-oattr_timeout=0-oentry_timeout=0` and `-oattr_timeout=3, -onegative_timeout=0`), and
`ossmount config import FILE` makes a configuration file of JindoFuse's or ossfs 2.0's. What is ignored is said when mounting;
what is always so changes nothing, and its opposite is refused.
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
`ALIBABA_CLOUD_PROFILE` names; \
not with `ALIBABA_CLOUD_IGNORE_PROFILE=TRUE` or `ALIBABA_CLOUD_CLI_PROFILE_DISABLED=TRUE` |
| `ossutil` | the access key in `~/.ossutilconfig` |
| `sdk` | what Alibaba Cloud's SDK finds by its own default chain, \
where it is installed (`pip install alibabacloud-credentials`) and \
`ALIBABA_CLOUD_CREDENTIALS_URI`, `ALIBABA_CLOUD_CREDENTIALS_FILE` or \
`~/.alibabacloud/credentials.ini` is there |
| `ecs` | the RAM role of the ECS instance; not with `ALIBABA_CLOUD_ECS_METADATA_DISABLED=true` |

The file and what a `credential_process` prints are JSON:
`{"AccessKeyId": "…", "AccessKeySecret": "…", "SecurityToken": "…", "Expiration": "2026-01-01T00:00:00Z"}`, the last two for
temporary credentials only. A source that is set up, but wrongly, is an error and not passed over.

The SDK is also asked for profiles of the aliyun CLI whose mode is CredentialsURI, CloudSSO or OAuth, and with
`credentials_from=sdk` for everything, or for the profile that `credentials_profile` names. It runs in a process of its own for
each renewal, for 60 s at most, and keeps what it renews of an OAuth profile in `~/.aliyun/config.json`, as the CLI does: the
mount's user must be able to write it.

Credentials that expire are renewed in the background, 15 minutes before (or a third of their life, when that is less), some
time earlier at random. When that fails it is tried again, the old ones stay in use, and what OSS then refuses waits for new
ones until its `timeout`.
"""

STATE = """## State

What the commands know of running mounts (one small file and one socket for each, and the logs of background daemons) lies
in `/run/ossmount` for root, else in `$XDG_RUNTIME_DIR/ossmount`, else in `/tmp/ossmount-UID`. Only its owner may look into
it. `OSSMOUNT_STATE_DIR` names another place; give it to all commands alike.

With `--user` they lie in a folder `uid-N` of it that belongs to that user, who reaches them with `OSSMOUNT_STATE_DIR` set to
it; root's commands find them by themselves. The log stays root's.
"""


def _row(option: Option[Any]) -> str:
    value = "" if option.is_switch else f"={option.unit.metavar}".replace("|", "\\|")
    default = option.default_text or "none"
    also = f" Also accepted: {', '.join(f'`{variable}`' for variable in option.variables)}." if option.variables else ""
    return f"| `{option.name}{value}` | {default} | {option.help}{also} |"


def _profiles() -> str:
    rows = "\n".join(
        f"| `{name}` | {profile.purpose} | {', '.join(f'`{key}={text}`' for key, text in profile.values.items())} |"
        for name, profile in PROFILES.items()
    )
    return f"{PROFILES_HEAD}\n| profile | for | sets |\n|---|---|---|\n{rows}\n"


def _foreign() -> str:
    """Names with the same fate for the same reason share a row."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, one in FOREIGN.items():
        meaning = f"`{one.option.name}`" if one.option is not None else one.why
        rows.setdefault((one.system, f"{one.fate.value} | {meaning}"), []).append(f"`{name}`")
    lines = "\n".join(f"| {', '.join(names)} | {system} | {rest} |" for (system, rest), names in rows.items())
    return f"{FOREIGN_HEAD}\n| name | of | becomes | what, or why |\n|---|---|---|---|\n{lines}\n"


def markdown() -> str:
    """The whole of CONFIGURATION.md."""
    parts = [HEAD]
    for group in GROUPS:
        rows = "\n".join(_row(option) for option in OPTIONS if option.group == group)
        parts.append(f"## {group}\n\n| option | default | meaning |\n|---|---|---|\n{rows}\n")
    parts += [_profiles(), FILES, FSTAB, _foreign(), CREDENTIALS, STATE]
    codes = "\n".join(f"| {int(code)} | {MEANINGS[code]} |" for code in ExitCode)
    parts.append(f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(markdown(), end="")
