"""What the commands tell programs: with --json standard output is one JSON value and nothing else."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

from ossmount.cli.describe import commands
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, LIMIT, Workshop

#: Commands without --json, and why: all others must have it.
SILENT = {
    "mount": "prints nothing",
    "umount": "prints nothing",
    "restart": "prints nothing",
    "trace": "prints lines of JSON always",
    "completion": "prints a program",
    "metadata": "has commands of its own",
    "config": "has commands of its own",
}


@pytest.mark.option("metadata_dir")
def test_commands_that_tell_facts_tell_them_as_json(plain_shop: Workshop) -> None:
    shop = plain_shop
    for number in range(3):
        shop.server.store.put(BUCKET, b"folder/%d" % number, b"x" * 10)
    listed = shop.folder / "list"
    listed.write_text("folder/0\nfolder/1\nnone\n")
    snapshot, cache, source = str(shop.folder / "snapshot"), str(shop.mountpoint("cache")), f"oss://{BUCKET}"
    asked: set[str] = set()

    def facts(*words: str, code: int = 0) -> Any:
        done = shop.run(*words, "--json")
        assert done.returncode == code, done.stderr
        asked.add(" ".join(words[:2]) if words[0] in ("metadata", "config") else words[0])
        return json.loads(done.stdout)

    built = facts("metadata", "build", source)
    assert built["source"] == source and built["lists"] >= 1 and built["files"] == 3 and built["seconds"] > 0
    assert built["store"].startswith(shop.environment["OSSMOUNT_METADATA_DIR"])
    with shop.mounted() as mount:
        place = str(mount.path)
        told = facts("prefetch", place, "--from-list", str(listed))
        assert told == {"fetched": 2, "there_already": 0, "left_out": 1}
        assert facts("warm", place, "folder") == {"files": 3, "bytes": 30, "failures": []}
        assert facts("warm", place, "folder/0", "none", code=1)["failures"] == [f"{place}/none: No such file or directory"]
        assert facts("refresh", place, "folder/0") == {"names": 1}
        assert facts("status", place)["state"] == "serving"
        assert [one["mountpoint"] for one in facts("status")] == [place]
        assert facts("status", "--health", place) == {"healthy": True, "state": "alive"}
        assert facts("status", "--ready", place) == {"ready": True, "state": "ready"}
        assert "bytes_to_kernel" in facts("top", place, "--once")
        assert facts("explain", place)["mountpoint"] == place
        assert facts("explain", place, "folder/0")["path"] == "folder/0"
        exported = facts("metadata", "export", source, snapshot)
        assert (exported["source"], exported["keys"], exported["file"]) == (source, 3, snapshot)
        assert facts("metadata", "info", snapshot) == exported
        assert facts("metadata", "import", snapshot) in ({"keys": 3}, {"keys": 0})
        assert facts("config", "show", "--given")["endpoint"]["origin"] == "OSSMOUNT_ENDPOINT"
        assert {one["name"] for one in facts("bench", place, "--seconds", "0.1")["phases"]} >= {"walk and stat"}
    gone = facts("status", "--health", place, code=ExitCode.NOT_MOUNTED)
    assert gone == {"healthy": False, "problem": f"{place}: not mounted", "code": ExitCode.NOT_MOUNTED}

    file = str(shop.folder / "mount.toml")
    assert facts("config", "init", file, "--profile", "training") == {"file": file, "sets": ["profile"], "problems": []}
    assert facts("config", "check", file) == {"file": file, "problems": []}
    (shop.folder / "jindo").write_text("-oattr_timeout=3")
    assert facts("config", "import", str(shop.folder / "jindo"))["options"] == {"attr_timeout": "3"}
    for action in ("ls", "usage", "verify", "prune", "clear"):
        assert isinstance(facts("cache", action, "--cache-dir", cache), list | dict)
    assert any(one["subject"] == "list" for one in facts("doctor", source)["findings"])
    helper = str(shop.folder / "mount.ossmount")
    assert facts("install-mount-helper", "--directory", str(shop.folder)) == {"file": helper, "installed": True}
    assert facts("install-mount-helper", "--directory", str(shop.folder), "--remove") == {"file": helper, "installed": False}
    assert served(shop)["url"].startswith("http://127.0.0.1:")
    asked.add("serve")

    have = {command.name for command in commands() if any("--json" in flag.names for flag in command.flags)}
    assert have | SILENT.keys() == {command.name for command in commands()}, "a command without --json"
    assert have == asked, "a command whose --json nobody has looked at"


def served(shop: Workshop) -> Any:
    """What `ossmount serve --json` says."""
    words = shop.words(["serve", str(shop.folder / "served"), "--port", "0", "--json"])
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=shop.environment) as server:
        try:
            assert server.stdout is not None
            return json.loads(server.stdout.readline())
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(LIMIT) == 0
