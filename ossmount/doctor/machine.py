"""The machine: kernel, device, programs, privileges, limits. Reads /proc and /sys only; root: where they lie, for tests."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ossmount.channel import request_timeout
from ossmount.channel.mounting import DEVICE, FUSERMOUNT, SUBTYPE, Mount, mounts, user_allow_other
from ossmount.daemon.cgroups import lines, usable_cpus
from ossmount.daemon.memory import LEAST_LIMIT, usable_memory
from ossmount.doctor.finding import Finding, bad, good, note

_OLDEST, _RESEND = (5, 4), (6, 9)  # kernels: the first that the kernel channel speaks to; the first that can RESEND
_SYS_ADMIN = 21  # bit of CAP_SYS_ADMIN, include/uapi/linux/capability.h
_DESCRIPTORS = 1024  # that a mount may have open: connections, cache files, processes
_CPUS = 2.0  # fewer, and readers and mount get in each other's way
_KERNELS_OWN = 128  # KiB, VM_READAHEAD_PAGES of include/linux/mm.h
_COMFORTABLE = 512 << 20  # bytes of memory from which on a quarter of it is enough for the readers of a GPU


def findings(timeout: float, read_ahead_kb: int, *, allow_other: bool, root: Path = Path("/")) -> Iterator[Finding]:
    """timeout, read_ahead_kb, allow_other: the options of the mount that is planned."""
    yield kernel(platform.release())
    yield device(root / DEVICE.lstrip("/"))
    yield privileges(_capabilities(root), shutil.which(FUSERMOUNT))
    if allow_other and os.geteuid() != 0 and not user_allow_other(root / "etc/fuse.conf"):
        yield bad("allow_other", "/etc/fuse.conf forbids it", "as root: echo user_allow_other >> /etc/fuse.conf")
    yield memory(usable_memory(root))
    yield cpus(usable_cpus(root))
    yield from read_ahead(read_ahead_kb, root / "sys/class/bdi", {each.device: each.mountpoint for each in _ours()})
    yield descriptors(*resource.getrlimit(resource.RLIMIT_NOFILE))
    limit = request_timeout.warning(timeout, root / "proc/sys/fs/fuse")
    yield (
        bad("fs.fuse", limit, "sysctl fs.fuse.max_request_timeout=0")
        if limit
        else good("fs.fuse", "no limit for requests that is too low")
    )


def kernel(release: str) -> Finding:
    numbers = re.match(r"(\d+)\.(\d+)", release)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if version < _OLDEST:
        return note(
            "kernel", f"{release}: mounts go through libfuse (--channel pyfuse3), several times slower", "Linux 5.4, better 6.9"
        )
    if version < _RESEND:
        text = f"{release}: when a daemon dies, requests in hand fail; no passthrough"
        return note("kernel", text, "Linux 6.9 or newer loses no request")
    return good("kernel", f"{release}: all features")


def device(path: Path) -> Finding:
    if not path.exists():
        return bad("/dev/fuse", "missing", "modprobe fuse; in a container: --device /dev/fuse")
    if not os.access(path, os.R_OK | os.W_OK):
        return bad("/dev/fuse", "may not be opened by you", "as root: chmod 666 /dev/fuse, or join its group")
    return good("/dev/fuse", "can be opened")


def privileges(capabilities: int, fusermount: str | None) -> Finding:
    if capabilities >> _SYS_ADMIN & 1:
        return good("privileges", "CAP_SYS_ADMIN: mounts by mount(2); read_ahead_kb and passthrough are possible")
    if fusermount is None:
        return bad("privileges", f"no CAP_SYS_ADMIN, and {FUSERMOUNT} is not installed", "apt install fuse3, or run as root")
    remedy = "with CAP_SYS_ADMIN streams are faster (read_ahead_kb) and --passthrough works"
    return note("privileges", f"an ordinary user: mounts through {fusermount}", remedy)


def memory(usable: int) -> Finding:
    text = f"{usable / (1 << 30):.1f} GiB may be used here (machine and cgroup); a mount takes a quarter, at most 1 GiB"
    if usable // 4 < LEAST_LIMIT:
        return bad("memory", text, f"raise the container's limit to {4 * LEAST_LIMIT >> 20} MiB at least, better 2 GiB")
    if usable < _COMFORTABLE:
        return note("memory", text, "raise the container's limit to 2 GiB, or set --memory-limit")
    return good("memory", text)


def descriptors(soft: int, hard: int) -> Finding:
    text = f"{soft:,} files may be open (at most {hard:,})"
    if soft < _DESCRIPTORS:
        return note("ulimit -n", text, f"ulimit -n {min(hard, 65536)}; systemd: LimitNOFILE=65536")
    return good("ulimit -n", text)


def cpus(usable: float) -> Finding:
    text = f"{usable:.3g} may be used here (affinity and cgroup)"
    if usable < _CPUS:
        return note("cpu", text, "the mount alone takes about one to read 1 GB/s: raise the container's limit")
    return good("cpu", text)


def read_ahead(wanted: int, folder: Path, mounted: Mapping[str, str]) -> Iterator[Finding]:
    """How far the kernel reads ahead on mounts. wanted: KiB, 0 leaves it alone.

    folder: of the kernel's bdi objects; mounted: the mounts that there are, by their names in it.
    """
    name = "read_ahead_kb"
    settable = any(os.access(each / name, os.W_OK) for each in folder.glob("*"))
    remedy = f"have root write {wanted} to {folder}/MAJOR:MINOR/{name} after mounting"
    if not wanted or wanted == _KERNELS_OWN:
        yield good(name, f"the kernel's own, {_KERNELS_OWN} KiB: nothing has to be set")
    elif settable:
        yield good(name, f"{wanted} KiB can be set for a mount")
    else:
        text = f"cannot be set here: the kernel reads {_KERNELS_OWN} KiB ahead, and streams are slower"
        yield note(name, text, f"mount as root with a writable /sys; or {remedy}")
    for device, mountpoint in sorted(mounted.items(), key=lambda item: item[1]):
        found = "".join(lines(folder / device / name)).strip()
        if found.isdigit() and int(found) <= _KERNELS_OWN < wanted:
            yield note(name, f"{found} KiB on {mountpoint}", remedy.replace("MAJOR:MINOR", device))


def _ours() -> list[Mount]:
    return [each for each in mounts() if each.kind == f"fuse.{SUBTYPE}"]


def _capabilities(root: Path) -> int:
    for line in (root / "proc/self/status").read_text("ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
