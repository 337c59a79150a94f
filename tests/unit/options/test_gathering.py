"""How people write options for other file systems, and what comes before what."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossmount.options import declarations as options
from ossmount.options.foreign import FOREIGN, Fate
from ossmount.options.gathering import gather, merge, split_mount_options, translate, without_effect
from ossmount.options.settings import Given, Settings, UsageError

ZEROS = {"attr_timeout": 0.0, "entry_timeout": 0.0, "negative_timeout": 0.0}


def values(*mount_options: str) -> dict[str, object]:
    """What was set by these texts behind -o."""
    given = gather({}, mount_options, {})
    settings = Settings(given)
    return {name: settings[options.BY_NAME[name]] for name in given}


@pytest.mark.parametrize(
    ("mount_options", "meant"),
    [
        # JindoFuse, as its documentation and that of PAI write them
        (["attr_timeout=0-oentry_timeout=0-onegative_timeout=0"], ZEROS),
        (["attr_timeout=0 -oentry_timeout=0 -onegative_timeout=0"], ZEROS),
        (["-oattr_timeout=0", "-oentry_timeout=0 -onegative_timeout=0 -oauto_cache -ono_flock"], ZEROS),
        (
            ["ro -oattr_timeout=7200 -oentry_timeout=7200 -onegative_timeout=7200 -okernel_cache -ono_symlink"],
            {"attr_timeout": 7200.0, "entry_timeout": 7200.0, "negative_timeout": 7200.0, "no_symlink": True},
        ),
        (["no_symlink,no_xattr,no_flock,direct_io"], {"no_symlink": True, "direct_io": True}),
        # ossfs 2.0
        (["attr_timeout=3, -onegative_timeout=0"], {"attr_timeout": 3.0, "negative_timeout": 0.0}),
        (["attr_timeout=3,", "negative_timeout=0"], {"attr_timeout": 3.0, "negative_timeout": 0.0}),  # what a shell makes of it
        (["negative_timeout=0, -oclose_to_open"], {"negative_timeout": 0.0, "close_to_open": True}),
        (["readdirplus=false, -oinode_cache_eviction_threshold=300000"], {}),
        (["close_to_open=false"], {"close_to_open": False}),
        # fstab
        (["defaults,noauto,nofail,_netdev,x-systemd.automount,x-systemd.idle-timeout=10min,uid=5"], {"uid": 5}),
    ],
)
def test_forms_that_are_found_in_the_wild(mount_options: list[str], meant: dict[str, object]) -> None:
    assert values(*mount_options) == meant


@pytest.mark.parametrize(
    "text",
    [
        "endpoint=foo-oss.example.com",
        "region=cn-oro",
        "cache_dir=/data/my-oro",
        "credentials=/x -oro",
        "config=/x-oro.toml",
        "open-ozz=1",
    ],
)
def test_a_value_is_not_split_where_no_option_begins(text: str) -> None:
    assert len(split_mount_options(text)) == 1


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("fs.jindo.fuse.pod.mem.limit=10Gi", {"memory_limit": 10 << 30}),
        ("fs.oss.connection.timeout.millisecond=3000", {"connect_timeout": 3.0}),
        ("logger.level=2", {"log_level": "info"}),
        ("credential_provider=ECS_ROLE,ram_role=trainer", {"credentials_from": "ecs", "ram_role_name": "trainer"}),
        ("total_mem_limit=0", {}),
        ("total_mem_limit=2147483648", {"memory_limit": 2 << 30}),
        ("enable_symlink=true", {"no_symlink": False}),
        ("enable_symlink=false", {"no_symlink": True}),
        ("dir_mode=0755,file_mode=0644", {"umask": 0o022}),
        ("fuse_entry_timeout=-1", {}),
        ("fuse_entry_timeout=5", {"entry_timeout": 5.0}),
        ("fs.oss.append.enable=true,fs.oss.write.buffer.size=262144", {}),
        ("prefetch_concurrency=64,prefetch_chunk_size=8388608", {"connections": 64, "readahead_size": 8 << 20}),
    ],
)
def test_what_becomes_of_foreign_names(text: str, meant: dict[str, object]) -> None:
    assert values(text) == meant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dir_mode=0755,file_mode=0600", "-o dir_mode and -o file_mode say different things"),
        ("fs.oss.connection.timeout.millisecond=soon", "-o fs.oss.connection.timeout.millisecond: expected a whole number"),
        ("fs.oss.download.thread.concurrency", "it needs a value"),
        ("logger.level=7", "from 0 to 6"),
        ("credential_provider=secrets:///x", "only ECS_ROLE has a counterpart"),
        ("remount,ro", "ossmount restart"),
        ("fs.oss.append.enabled=true", "did you mean fs.oss.append.enable?"),
    ],
)
def test_foreign_names_that_cannot_be_taken_over(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        values(text)


@pytest.mark.parametrize("name", [name for name, one in FOREIGN.items() if one.fate is Fate.MAPPED])
def test_every_foreign_name_that_is_mapped_gives_a_value_of_the_option(name: str) -> None:
    one = FOREIGN[name]
    assert one.option is not None
    samples = ("4", "0755", "warning", "true", "/x", "host", "8M", "ECS_ROLE")
    taken = []
    for text in samples:
        try:
            translated = translate(name, one, text)
            assert translated is not None and translated.name == one.option.name
            taken.append(one.option.unit.parse(translated.text))
        except ValueError:
            continue
    assert taken


def test_what_has_no_effect_is_said_unless_mount_8_means_it_for_itself() -> None:
    said = without_effect(["no_xattr,noauto,x-systemd.automount,ro", "readdirplus=false,uid=1"])
    assert [line.split(":")[0] for line in said] == ["-o no_xattr has no effect", "-o readdirplus has no effect"]


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mount.toml"
    path.write_text(text)
    return str(path)


def test_which_place_goes_before_which(tmp_path: Path) -> None:
    config = write(tmp_path, 'uid = 1\ngid = 1\ntimeout = 1\numask = "001"\nattr_timeout = 1\nprofile = "shared"\n')
    settings = Settings(
        gather(
            {"config": config, "uid": "4"},
            ["gid=3"],
            {"OSSMOUNT_UID": "2", "OSSMOUNT_GID": "2", "OSSMOUNT_TIMEOUT": "2", "OSS_REGION": "cn-x"},
        )
    )
    shown = settings.shown()
    assert shown["uid"] == ("4", "--uid")
    assert shown["gid"] == ("3", "-o gid")
    assert shown["timeout"] == ("2", "OSSMOUNT_TIMEOUT")
    assert shown["umask"] == ("001", f"{config}:4")
    assert shown["attr_timeout"] == ("1", f"{config}:5")
    assert shown["entry_timeout"] == ("3", "profile shared")
    assert shown["connections"] == ("128", "default")


def test_a_restart_keeps_what_was_written_and_changes_what_the_profile_sets() -> None:
    before = gather({"attr_timeout": "7", "profile": "training"}, [], {})
    same = merge(before, gather({"uid": "1"}, [], {}))
    assert same == {**before, "uid": Given("1", "--uid")}
    after = merge(before, gather({"profile": "fresh"}, [], {}))
    assert after["attr_timeout"] == Given("7", "--attr-timeout")
    assert after["entry_timeout"] == Given("0", "profile fresh")
