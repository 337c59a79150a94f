from __future__ import annotations

import math
from pathlib import Path

import pytest

from ossmount.options import declarations as options
from ossmount.options.files import look, read_config
from ossmount.options.gathering import gather
from ossmount.options.settings import Given, Settings, UsageError
from ossmount.options.template import template


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mount.toml"
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_values_of_every_kind(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        source = "oss://bucket/a"
        mountpoint = '/mnt/a'
        "uid" = 7
        attr_timeout = inf
        entry_timeout = 1.5
        negative_timeout = "10m"
        allow_other = true
        close_to_open = false
        cache_dir = ["/a", "/b"]
        memory_limit = "1G"
        umask = "027"
        """,
    )
    file = read_config(Given(str(path), "--config"))
    assert (file.source, file.mountpoint) == ("oss://bucket/a", "/mnt/a")
    settings = Settings(gather({"config": str(path)}, [], {}))
    assert settings[options.UID] == 7 and settings.origin(options.UID) == f"{path}:4"
    assert settings[options.ATTR_TIMEOUT] == math.inf
    assert (settings[options.ENTRY_TIMEOUT], settings[options.NEGATIVE_TIMEOUT]) == (1.5, 600.0)
    assert (settings[options.ALLOW_OTHER], settings[options.CLOSE_TO_OPEN]) == (True, False)
    assert settings[options.CACHE_DIR] == (Path("/a"), Path("/b"))
    assert (settings[options.MEMORY_LIMIT], settings[options.UMASK]) == (1 << 30, 0o027)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("uid = 'me'", "uid: 'me' is not right: expected a whole number"),
        ("uidd = 1", "unknown option uidd; did you mean uid?"),
        ("allow-other = true", "unknown option allow-other; did you mean allow_other?"),
        ("sorce = 'oss://b'", "did you mean source?"),
        ("umask = 0o22", 'write umask in quotes, since it is octal: umask = "022"'),
        ("uid = true", "uid is no switch"),
        ("allow_other = 1.5", "allow_other: '1.5' is not right"),
        ("endpoint = ['a']", "endpoint is no list"),
        ("uid = 1979-05-27", "uid: write uid"),
        ("source = 'bucket'", "'bucket' is not a source; write oss://BUCKET"),
        ("mountpoint = 'x'", "mountpoint: x depends on the folder of who mounts"),
        ("source = 5", "source is a text in quotes"),
        ("credentials = 'keys.json'", "credentials: keys.json depends on the folder of who mounts"),
        ("cache_dir = '/a:b'", "cache_dir: b depends on"),
        ("config = '/x'", "names no other one"),
        ("[uid]\nx = 1", "uid is a table"),
        ("[mount]\nuid = 1", "unknown option mount"),
        ("access_key_id = 'x'", "access keys do not stand in this file"),
        ("OSS_ACCESS_KEY_SECRET = 'hunter2'", "write them to a JSON file with mode 0600"),
        ("oss_access_key_secret = 'hunter2'", "access keys do not stand in this file"),
        ("security_token = 'hunter2'", "access keys do not stand in this file"),
        ("proxy = 'http://me:hunter2@proxy:1'", "a password does not stand in this file"),
        ("oss_endpoint = 'x'", "oss_endpoint is a name of ossfs 2.0: write endpoint"),
        ("no_xattr = true", "no_xattr is a name of JindoFuse: leave it away"),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, f"# a comment\n\n{line}\n")
    found = look(path, "--config").problems
    assert len(found) == 1
    assert message in found[0].message and found[0].line == 3
    assert "hunter2" not in found[0].message
    with pytest.raises(UsageError) as error:
        read_config(Given(str(path), "--config"))
    assert str(error.value).startswith(f"{path}:3: ")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "uid = 'me'\nfoo = 1\ngid = 5\numask = 1\n")
    assert [problem.line for problem in look(path, "x").problems] == [1, 2, 4]


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    (problem,) = look(write(tmp_path, "uid = 1\numask = 022\n"), "x").problems
    assert problem.line == 2 and "not TOML" in problem.message


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path, "uid = 1\n")
    path.chmod(0o646)
    with pytest.raises(UsageError, match="everybody may write to"):
        look(path, "--config")
    with pytest.raises(UsageError, match=r"there is no file .*none\.toml; in .* there are mount"):
        look(tmp_path / "none.toml", "--config")
    with pytest.raises(UsageError, match="is not a configuration file"):
        look(tmp_path, "--config")
    path.write_bytes(b"\xff")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="not UTF-8"):
        look(path, "--config")


def test_a_name_is_one_of_the_folder_of_configurations() -> None:
    assert options.CONFIG.unit.parse("imagenet") == Path("/etc/ossmount/imagenet.toml")
    assert options.CONFIG.unit.parse("./imagenet") == Path.cwd() / "imagenet"
    assert options.CONFIG.unit.parse("imagenet.toml") == Path.cwd() / "imagenet.toml"
    with pytest.raises(UsageError, match=r"--config: there is no file /etc/ossmount/no-such-one\.toml"):
        gather({"config": "no-such-one"}, [], {})


def test_the_template_is_a_good_file_with_every_option_in_it(tmp_path: Path) -> None:
    lines = list(template({}))
    assert look(write(tmp_path, "\n".join(lines)), "x") == (tmp_path / "mount.toml", "", "", {}, [])
    for option in options.OPTIONS:
        if option is not options.CONFIG:
            assert any(line.startswith(f"#{option.name} = ") for line in "\n".join(lines).split("\n")), option.name


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    wanted = {
        "umask": "027",
        "uid": "7",
        "attr_timeout": "inf",
        "memory_limit": "1G",
        "allow_other": "true",
        "endpoint": 'a"b\\c',
        "cache_dir": "/a:/b",
        "credentials": "/x/ü",
    }
    path = write(tmp_path, "\n".join(template(wanted, "oss://bucket/ü", "/mnt/a b")))
    found = read_config(Given(str(path), "--config"))
    assert {name: given.text for name, given in found.given.items()} == wanted
    assert (found.source, found.mountpoint) == ("oss://bucket/ü", "/mnt/a b")
