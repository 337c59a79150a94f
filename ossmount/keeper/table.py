"""What the mount table says of one place, without touching it."""

from __future__ import annotations

_TABLE = "/proc/self/mountinfo"
_ESCAPES = ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\043", "#"), (r"\134", "\\"))


def device_at(mountpoint: str) -> str:
    """MAJOR:MINOR of what is mounted there, on top; "" for nothing. Never touches it. Source: proc_pid_mountinfo(5)."""
    found = _fields_at(mountpoint)
    return found[-1][2] if found else ""


def is_automounted(mountpoint: str, table: str = _TABLE) -> bool:
    """Whether an automounter waits there (systemd.automount(5), automount(8)).

    It lets the processes of its own process group look below its trap and mount there; any other one that touches the place
    starts another mount and waits for it. So whatever of ours touches it stays in the group that it was started in. Source:
    Documentation/filesystems/autofs.rst of the kernel, "Communicating with autofs: detecting the daemon".
    """
    return any(fields[fields.index("-") + 1] == "autofs" for fields in _fields_at(mountpoint, table))


def _fields_at(mountpoint: str, table: str = _TABLE) -> list[list[str]]:
    """The lines of the mount table with exactly this place, the topmost last."""
    found = []
    with open(table, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            place = fields[4]
            for written, meant in _ESCAPES:
                place = place.replace(written, meant)
            if place == mountpoint:
                found.append(fields)
    return found
