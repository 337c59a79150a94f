"""What the keeper reads in the mount table."""

from __future__ import annotations

from pathlib import Path

from ossmount.keeper.mounts import is_automounted

TABLE = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:36 / /mnt/with\\040space rw,relatime shared:20 - autofs systemd-1 rw,fd=42,pgrp=1,timeout=3600,direct
41 40 0:50 / /mnt/with\\040space ro,nosuid,nodev,relatime shared:21 - fuse.ossmount oss://bucket ro,user_id=0,group_id=0
42 22 0:51 / /mnt/autofs ro - fuse.ossmount autofs ro
"""


def test_where_an_automounter_waits(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    assert is_automounted("/mnt/with space", str(table)), "also when it has mounted already"
    for other in ("/mnt/autofs", "/mnt", "/"):
        assert not is_automounted(other, str(table))
