"""What the commands tell programs: with --json standard output is one JSON value and nothing else."""

from __future__ import annotations

import json
from typing import Any

from tests.mount.support import BUCKET, Workshop


def test_commands_that_tell_facts_tell_them_as_json(plain_shop: Workshop) -> None:
    shop = plain_shop
    for number in range(3):
        shop.server.store.put(BUCKET, b"folder/%d" % number, b"x" * 10)
    listed = shop.folder / "list"
    listed.write_text("folder/0\nfolder/1\nnone\n")
    snapshot = str(shop.folder / "snapshot")

    def facts(*words: str, code: int = 0) -> Any:
        done = shop.run(*words, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    with shop.mounted() as mount:
        place = str(mount.path)
        told = facts("prefetch", place, "--from-list", str(listed))
        assert told == {"fetched": 2, "there_already": 0, "left_out": 1}
        assert facts("warm", place, "folder") == {"files": 3, "bytes": 30, "failures": []}
        assert facts("warm", place, "folder/0", "none", code=1)["failures"] == [f"{place}/none: No such file or directory"]
        assert facts("refresh", place, "folder/0") == {"names": 1}
        assert facts("status", place)["state"] == "serving"
        assert [one["mountpoint"] for one in facts("status")] == [place]
        exported = facts("metadata", "export", f"oss://{BUCKET}", snapshot)
        assert (exported["source"], exported["keys"], exported["file"]) == (f"oss://{BUCKET}", 3, snapshot)
        assert facts("metadata", "info", snapshot) == exported
        assert facts("metadata", "import", snapshot) in ({"keys": 3}, {"keys": 0})
        assert facts("config", "show", "--given")["endpoint"]["origin"] == "OSSMOUNT_ENDPOINT"
