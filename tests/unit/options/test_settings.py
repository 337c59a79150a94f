from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossmount.options import declarations as options
from ossmount.options.foreign import FOREIGN, Fate
from ossmount.options.gathering import gather, misspelled, split_mount_options
from ossmount.options.settings import DEFAULT, Settings, UsageError


def resolve(
    flags: Mapping[str, str] | None = None, mount_options: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Settings:
    return Settings(gather(flags or {}, mount_options, environ or {}))


def test_every_default_stands_for_itself() -> None:
    settings = resolve()
    for option in options.OPTIONS:
        assert settings[option] == option.default
        assert settings.origin(option) == DEFAULT


def test_each_value_knows_where_it_came_from() -> None:
    settings = resolve({"umask": "077"}, ["uid=5,allow_other"], {"OSSMOUNT_TIMEOUT": "5", "OSS_REGION": "cn-beijing"})
    assert (settings[options.UMASK], settings.origin(options.UMASK)) == (0o077, "--umask")
    assert (settings[options.UID], settings.origin(options.UID)) == (5, "-o uid")
    assert (settings[options.ALLOW_OTHER], settings.origin(options.ALLOW_OTHER)) == (True, "-o allow_other")
    assert (settings[options.TIMEOUT], settings.origin(options.TIMEOUT)) == (5.0, "OSSMOUNT_TIMEOUT")
    assert (settings[options.REGION], settings.origin(options.REGION)) == ("cn-beijing", "OSS_REGION")
    assert settings.shown()["umask"] == ("077", "--umask")


def test_the_command_line_goes_before_the_environment() -> None:
    environ = {"OSSMOUNT_UID": "1", "OSSMOUNT_GID": "1", "OSSMOUNT_ENDPOINT": "a", "OSS_ENDPOINT": "b"}
    settings = resolve({"uid": "2"}, ["gid=3"], environ)
    assert (settings[options.UID], settings[options.GID], settings[options.ENDPOINT]) == (2, 3, "a")


def test_an_empty_environment_variable_says_nothing() -> None:
    assert resolve(environ={"OSSMOUNT_UID": ""})[options.UID] is None


@pytest.mark.parametrize(
    ("mount_options", "message"),
    [
        (["alow_other"], "unknown option -o alow_other; did you mean allow_other?"),
        (["allow-other"], "did you mean allow_other"),
        (["zzz"], "unknown option -o zzz$"),
        (["uid"], "-o uid needs a value"),
        (["uid="], "-o uid is empty"),
        (["uid=me"], "-o uid: 'me' is not right: expected a whole number"),
        (["rw"], "read-only"),
        (["ro=false"], "-o ro: it is always so: the mount is read-only"),
        (["nonempty"], "-o nonempty: .*empty folder"),
        (["oss_access_key_secret=hunter2"], "access keys are no options.* credentials=FILE"),
        (["uid=1,uid=2"], "-o uid and -o uid say different things"),
        (["open=skip,close_to_open"], r"open=skip \(from -o open\) contradicts close_to_open \(from -o close_to_open\)"),
        (["open=skip,direct_io"], "contradicts"),
        (["anonymous", "credentials=/x"], "contradicts"),
        (["channel=pyfuse3,open=skip"], "contradicts"),
        (["channel=fast"], "one of auto, kernel, pyfuse3"),
    ],
)
def test_what_cannot_be_meant(mount_options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(mount_options=mount_options)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UsageError) as error:
        resolve({"umask": "9", "channel": "fast"}, ["open=skip,direct_io"])
    assert len(str(error.value).splitlines()) == 3


def test_one_option_in_two_spellings_must_agree() -> None:
    assert resolve({"memory_limit": "1G"}, ["memory_limit=1024M"])[options.MEMORY_LIMIT] == 1 << 30
    with pytest.raises(UsageError, match="--memory-limit and -o memory_limit say different things"):
        resolve({"memory_limit": "1G"}, ["memory_limit=2G"])


def test_a_switch_can_be_switched_off_again() -> None:
    assert resolve(mount_options=["allow_other=false"])[options.ALLOW_OTHER] is False
    assert resolve({"close_to_open": "true"}, ["open=ask"])[options.CLOSE_TO_OPEN] is True


def test_names_of_other_products_are_known() -> None:
    settings = resolve(mount_options=["ro,fs.oss.download.thread.concurrency=32,fs.oss.read.readahead.buffer.size=1048576"])
    assert (settings[options.CONNECTIONS], settings[options.READAHEAD_SIZE]) == (32, 1 << 20)
    assert settings.origin(options.CONNECTIONS) == "-o fs.oss.download.thread.concurrency"


def test_what_is_always_so_is_accepted_and_changes_nothing() -> None:
    always = [name for name, one in FOREIGN.items() if one.fate is Fate.ALWAYS]
    settings = resolve(mount_options=[",".join(always)])
    assert "auto_cache" in always
    assert settings.given() == {}


def test_computed_defaults_give_way_to_the_user() -> None:
    assert resolve().with_default(options.UID, 7)[options.UID] == 7
    assert resolve(mount_options=["uid=5"]).with_default(options.UID, 7)[options.UID] == 5
    twice = resolve().with_default(options.UID, 7).with_default(options.GID, 8)
    assert (twice[options.UID], twice[options.GID], twice.origin(options.UID)) == (7, 8, DEFAULT)


def test_a_password_is_never_shown() -> None:
    settings = resolve({"proxy": "http://me:hunter2@proxy:1"})
    assert "hunter2" not in repr(settings) + str(settings.shown())
    with pytest.raises(UsageError) as error:
        resolve({"proxy": "socks://me:hunter2@proxy:1"})
    assert "hunter2" not in str(error.value)


def test_mount_options_are_split_at_commas_that_are_not_escaped() -> None:
    assert split_mount_options("ro,,uid=1") == [("ro", None), ("uid", "1")]
    assert split_mount_options(r"credentials=/a\,b\\c=d,ro") == [("credentials", r"/a,b\c=d"), ("ro", None)]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(min_size=1, max_size=8), max_size=5))
def test_whatever_is_escaped_comes_back(values: list[str]) -> None:
    text = ",".join(f"k={value}".replace("\\", "\\\\").replace(",", "\\,") for value in values)
    assert split_mount_options(text) == [("k", value) for value in values]


def test_misspelled_variables_are_named_and_foreign_ones_are_not() -> None:
    environ = {
        "OSSMOUNT_MEMORY_LIMITS": "1G",
        "OSSMOUNT_SERVICE_HOST": "10.0.0.1",
        "OSSMOUNT_UID": "1",
        "OSSMOUNT_STATE_DIR": "/x",
    }
    assert misspelled(environ) == [
        "the environment variable OSSMOUNT_MEMORY_LIMITS is unknown; did you mean OSSMOUNT_MEMORY_LIMIT?"
    ]
