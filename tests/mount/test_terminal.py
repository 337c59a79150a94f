"""Keys that a terminal would obey: what commands print and daemons log of them is harmless, and they are read as any other."""

from __future__ import annotations

import os

from ossmount.emulator.faults import Fault
from tests.mount.support import BUCKET, Workshop

CLEAR = b"\x1b[2J\x1b]0;owned\x07"
KEYS = {
    b"evil/" + CLEAR: b"one",
    b"evil/line\nossmount: all is well\r": b"two",
    b"evil/gpj.\xe2\x80\xaeexe": b"three",
    b"evil/c1-\xc2\x9b31m": b"four",
}
HIDDEN = b"evil//hidden-" + b"\x1b[2J\n"
HARMFUL = set("\x1b\x07\r\x9b\u202e")


def harmless(text: str) -> bool:
    return not HARMFUL & set(text) and "\nossmount: all is well" not in text


def test_commands_and_logs_show_keys_without_obeying_them(plain_shop: Workshop) -> None:
    for key, data in KEYS.items():
        plain_shop.server.store.put(BUCKET, key, data)
    plain_shop.server.store.put(BUCKET, HIDDEN, b"")
    cache = plain_shop.mountpoint("cache")
    with plain_shop.mounted("--cache-dir", str(cache), "--log-level", "debug") as mount:
        folder = os.fsencode(mount.path) + b"/evil"
        assert {b"evil/" + name for name in os.listdir(folder)} == set(KEYS)
        for key, data in KEYS.items():
            with open(os.fsencode(mount.path) + b"/" + key, "rb") as file:
                assert file.read() == data
        missing = [os.fsdecode(key) + "-missing" for key in KEYS]
        plain_shop.server.faults.add(Fault(keys="*", operations=("GET", "HEAD"), code="AccessDenied", status=403))
        (plain_shop.folder / "list").write_bytes(b"\0".join(map(os.fsencode, [*map(os.fsdecode, KEYS), *missing])))
        said = [
            plain_shop.run(*words)
            for words in (
                ("status",),
                ("status", str(mount.path)),
                ("status", str(mount.path), "--json"),
                ("warm", str(mount.path), *missing),
                ("warm", str(mount.path), *missing, "--json"),
                ("warm", str(mount.path), "--pin", *missing),
                ("refresh", str(mount.path), missing[0]),
                ("prefetch", str(mount.path), "--from-list", str(plain_shop.folder / "list")),
                ("cache", "ls", "--cache-dir", str(cache)),
                ("cache", "ls", "--cache-dir", str(cache), "--json"),
                ("umount", str(mount.path / missing[0])),
                ("mount", "oss://" + missing[0], str(mount.path)),
                ("explain", str(mount.path), missing[0]),
                (missing[0],),
            )
        ]
        for done in said:
            assert harmless(done.stdout) and harmless(done.stderr), done.args
        assert any("x1b[2J" in done.stdout for done in said) and any("x1b[2J" in done.stderr for done in said)
        assert harmless(mount.log)
