"""The configurations that the documentation of PAI, DataWorks, JindoFuse and ossfs 2.0 shows, in our terms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ossmount.options.files import look
from ossmount.options.importing import import_text
from ossmount.options.settings import UsageError

THREE_ZEROS = {"attr_timeout": "0", "entry_timeout": "0", "negative_timeout": "0"}


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (
            {
                "fs.oss.download.thread.concurrency": "16",
                "fs.oss.upload.thread.concurrency": "16",
                "fs.jindo.args": "-oattr_timeout=3 -oentry_timeout=0 -onegative_timeout=0 -oauto_cache -ono_symlink",
            },
            {**THREE_ZEROS, "attr_timeout": "3", "no_symlink": "true", "connections": "16"},
        ),
        (
            {"fs.jindo.args": "-oro -oattr_timeout=7200 -oentry_timeout=7200 -onegative_timeout=7200 -okernel_cache"},
            {"attr_timeout": "7200", "entry_timeout": "7200", "negative_timeout": "7200"},
        ),
        ({"fs.jindo.args": "-oattr_timeout=0-oentry_timeout=0-onegative_timeout=0"}, THREE_ZEROS),
        (
            {
                "fs.jindo.args": "-oattr_timeout=0 -oentry_timeout=0 -onegative_timeout=0",
                "fs.oss.append.enable": "true",
                "fs.oss.flush.interval.millisecond": "1000",
                "fs.oss.read.readahead.buffer.size": "4194304",
                "fs.oss.write.buffer.size": "262144",
            },
            {**THREE_ZEROS, "readahead_size": "4194304"},
        ),
        (
            {
                "fs.oss.upload.thread.concurrency": "32",
                "fs.oss.download.thread.concurrency": 32,
                "fs.oss.read.readahead.buffer.count": "64",
            },
            {"connections": "32", "readahead_count": "64"},
        ),
        (
            {"fs.jindo.args": "-oattr_timeout=0 -ono_symlink -ono_xattr -ono_flock -odirect_io"},
            {"attr_timeout": "0", "no_symlink": "true", "direct_io": "true"},
        ),
        ({"fs.jindo.fuse.pod.mem.limit": "10Gi", "fs.jindo.fuse.pod.image.tag": "6.7.0"}, {"memory_limit": "10Gi"}),
        ({"mountOssType": "jindofuse", "attr_timeout": 3, "entry_timeout": 0}, {"attr_timeout": "3", "entry_timeout": "0"}),
        # ossfs 2.0: names are believed for as long as attributes
        ({"mountType": "ossfs", "fs.ossfs.args": "-oattr_timeout=7200"}, {"attr_timeout": "7200", "entry_timeout": "7200"}),
        (
            {"mountType": "ossfs", "fs.ossfs.args": "-oattr_timeout=3, -onegative_timeout=0"},
            {"attr_timeout": "3", "negative_timeout": "0", "entry_timeout": "3"},
        ),
        (
            {"mountType": "ossfs", "fs.ossfs.args": "-onegative_timeout=0, -oclose_to_open"},
            {"negative_timeout": "0", "close_to_open": "true"},
        ),
        ({"fs.ossfs.args": "-oreaddirplus=false, -oinode_cache_eviction_threshold=300000"}, {}),
        (
            {"mountOssType": "ossfs", "negative_timeout": "0", "close_to_open": "false"},
            {"negative_timeout": "0", "close_to_open": "false"},
        ),
        ({"mountOssType": "ossfs", "readdirplus": "false", "inode_cache_eviction_threshold": "300000"}, {}),
    ],
)
def test_json_of_datasets(table: dict[str, object], options: dict[str, str], tmp_path: Path) -> None:
    told = import_text(json.dumps(table, indent=2))
    assert told.options == options
    assert told.refused == []
    assert len(told.notes) + len(options) >= len(table)
    path = tmp_path / "mount.toml"
    path.write_text("\n".join(told.lines()))
    path.chmod(0o644)
    file = look(path, "x")
    assert file.problems == [] and {name: given.text for name, given in file.given.items()} == options


OSSFS_CONF = """\
# where
--oss_endpoint=https://oss-cn-hangzhou-internal.aliyuncs.com
--oss_bucket=my-bucket
--oss_bucket_prefix=folder/sub/
--oss_region=cn-hangzhou
--oss_access_key_id=LTAIxxxx
--oss_access_key_secret=hunter2

--ro=true
--allow_other=true
--file_mode=0644
--dir_mode=0755
--disk_data_cache_dir=/nvme/cache
--disk_data_cache_size=8G
--log_dir=/tmp/ossfs2
"""


def test_a_file_of_ossfs2() -> None:
    told = import_text(OSSFS_CONF)
    assert told.source == "oss://my-bucket/folder/sub"
    assert told.options == {
        "endpoint": "https://oss-cn-hangzhou-internal.aliyuncs.com",
        "region": "cn-hangzhou",
        "allow_other": "true",
        "umask": "022",
        "cache_dir": "/nvme/cache",
        "cache_size": "8G",
    }
    assert [note.name for note in told.refused] == ["oss_access_key_id", "oss_access_key_secret"]
    text = "\n".join(told.lines())
    assert "hunter2" not in text and "LTAI" not in text
    assert "# NOT TAKEN OVER: oss_access_key_secret: access keys are no options" in text
    assert "# without effect: log_dir = /tmp/ossfs2: " in text


def test_jindosdk_cfg_and_arguments() -> None:
    cfg = "[common]\nlogger.dir = /tmp/fuse-log\nlogger.level = 1\n[jindosdk]\n"
    cfg += "fs.oss.endpoint = oss-cn-x.aliyuncs.com\nfs.oss.retry.count=5\n"
    assert import_text(cfg).options == {"log_level": "debug", "endpoint": "oss-cn-x.aliyuncs.com"}
    assert import_text("-oattr_timeout=0-oentry_timeout=0 -onegative_timeout=0").options == THREE_ZEROS
    told = import_text("-ouri=oss://bucket.oss-cn-x-internal.aliyuncs.com/a/b/ -oro -oauto_unmount")
    assert (told.source, told.options) == ("oss://bucket/a/b", {"endpoint": "oss-cn-x-internal.aliyuncs.com"})


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        (
            '{"fs.oss.download.thread.concurrency": "2 x CPU cores"}',
            "fs.oss.download.thread.concurrency",
            "whole number",
        ),
        ('{"fs.oss.apend.enable": "true"}', "fs.oss.apend.enable", "did you mean fs.oss.append.enable"),
        ('{"fs.jindo.args": "-orw"}', "rw", "read-only"),
        ('{"attr_timeout": "1", "fs.jindo.args": "-oattr_timeout=2"}', "attr_timeout", "attr_timeout is 1 already"),
        ("uri = oss://bucket.cn-shanghai.oss-dls.aliyuncs.com/x", "uri", "OSS-HDFS"),
        ("--oss_bucket=Bucket", "source", "not a bucket name"),
        ("--ram_role_of=x", "ram_role_of", "unknown"),
    ],
)
def test_what_is_not_taken_over_is_told(text: str, name: str, why: str) -> None:
    (note,) = import_text(text).refused
    assert note.name == name and why in note.why


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,}', "line 1, column 8: this is not JSON|this is not JSON"),
        ('{"fs.jindo.args": ["-oro"]}', "not a list"),
        ("attr_timeout = 1\n<xml>", "line 2 is neither"),
        ("# nothing\n", "no option"),
    ],
)
def test_what_is_no_configuration(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        import_text(text)
