"""Mounting that fails leaves nothing; what is described is what is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import data, install, mounts, own, peers
from benchmarks.network import NETWORKS
from benchmarks.peers import Target
from benchmarks.processes import alive
from benchmarks.store import LocalStore


def target(served: LocalStore, folder: Path, bucket: str = data.BUCKET) -> Target:
    mountpoint, scratch = folder / "mnt", folder / "own"
    mountpoint.mkdir()
    scratch.mkdir()
    return Target(bucket, served.url(NETWORKS["none"]), mountpoint, scratch, folder)


def test_ossmount_that_does_not_mount_says_why(served: LocalStore, short_folder: Path) -> None:
    wanted = target(served, short_folder, "nosuchbucket")
    with pytest.raises(peers.MountFailed, match="exit code"), own.known()[0].mounted(wanted):
        raise AssertionError("it mounted")
    assert not mounts.device_of(wanted.mountpoint)


def test_a_failure_while_mounted_unmounts_and_ends(served: LocalStore, short_folder: Path) -> None:
    wanted = target(served, short_folder)
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError), own.known()[0].mounted(wanted) as mounted:
        pids = mounted.pids()
        assert mounts.device_of(wanted.mountpoint) and pids
        raise ZeroDivisionError
    assert not mounts.device_of(wanted.mountpoint)
    assert not any(alive(pid) for pid in pids)


def test_a_command_gets_the_targets_values_and_files_that_only_its_user_reads(served: LocalStore, short_folder: Path) -> None:
    wanted = target(served, short_folder)
    peer = peers.CommandPeer(
        "shown",
        ("sh", "-c", 'cat "$CONFIG"; echo {bucket} {address} {path_style}; stat -c %a "$CONFIG"'),
        {"CONFIG": "{scratch}/config"},
        {"config": "url={url}\n"},
    )
    with pytest.raises(peers.MountFailed) as failure, peer.mounted(wanted):
        raise AssertionError("it mounted")
    address = wanted.url.removeprefix("http://")
    assert str(failure.value).splitlines() == [f"url={wanted.url}", f"bench {address} true", "600"]


def test_secrets_are_in_the_environment_not_in_the_command(tmp_path: Path) -> None:
    for peer in peers.known(tmp_path):
        assert isinstance(peer, peers.CommandPeer)
        assert not any("secret" in part.lower() for part in peer.command)


def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    said: list[str] = []
    install.rclone(tmp_path, said.append)
    assert said == [f"rclone: {peers.rclone_binary(tmp_path)}"]
    assert list(tmp_path.iterdir()) == []


def test_an_installation_that_fails_says_what_it_said() -> None:
    with pytest.raises(install.Failed, match="sh -c echo no; exit 1: no"):
        install._run(["sh", "-c", "echo no; exit 1"])
