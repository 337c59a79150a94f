from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from ossmount.oss.credentials.files import FileProvider
from ossmount.oss.credentials.interface import CredentialsError


def write(path: Path, secret: str, **more: str) -> None:
    """As a careful writer does."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"AccessKeyId": "id", "AccessKeySecret": secret, **more}))
    temporary.replace(path)


def secret_of(provider: FileProvider) -> str:
    return provider.obtain().credentials.access_key_secret


def test_a_file_that_is_old_has_not_changed_until_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write(path, "one")
    os.utime(path, (1000, 1000))
    provider = FileProvider(path)
    assert secret_of(provider) == "one" and not provider.changed()
    write(path, "two")
    os.utime(path, (1000, 1000))  # of another file, with the same size and time
    assert provider.changed()
    assert secret_of(provider) == "two" and not provider.changed()
    assert "two" not in repr(provider) and str(path) in provider.name


def test_rewritten_in_place_with_the_same_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    moment = time.time_ns()
    path.write_text(json.dumps({"AccessKeyId": "id", "AccessKeySecret": "one"}))
    os.utime(path, ns=(moment, moment))
    provider = FileProvider(path)
    assert secret_of(provider) == "one"
    path.write_text(json.dumps({"AccessKeyId": "id", "AccessKeySecret": "two"}))
    os.utime(path, ns=(moment, moment))
    assert provider.changed()
    assert secret_of(provider) == "two"


def test_a_file_that_is_away_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write(path, "one")
    provider = FileProvider(path)
    provider.obtain()
    path.unlink()
    assert provider.changed()
    with pytest.raises(CredentialsError, match=r"keys\.json cannot be read: No such file"):
        provider.obtain()
    write(path, "two")
    assert provider.changed()
    assert secret_of(provider) == "two"


def test_a_folder_and_a_large_file(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="cannot be read: Is a directory"):
        FileProvider(tmp_path).obtain()
    path = tmp_path / "large"
    path.write_bytes(b"s3cret" * 20_000)
    with pytest.raises(CredentialsError, match="more than 65536 bytes"):
        FileProvider(path).obtain()
