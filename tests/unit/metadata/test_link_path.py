import pytest

from ossmount.metadata.keys import link_path


@pytest.mark.parametrize(
    ("link", "target", "prefix", "path"),
    [
        (b"link", b"file", b"", b"file"),
        (b"a/link", b"file", b"", b"../file"),
        (b"a/link", b"a/file", b"", b"file"),
        (b"a/b/link", b"a/c/file", b"", b"../c/file"),
        (b"a/b/link", b"x/y/z", b"", b"../../x/y/z"),
        (b"link", b"folder/", b"", b"folder"),
        (b"a/b/link", b"a/b/", b"", b"../b"),
        (b"p/a/link", b"p/file", b"p/", b"../file"),
        (b"a.~file~/link", b"b.~file~", b"", b"../b.~file~.~file~.~file~"),
    ],
)
def test_the_path_from_a_link_to_its_target(link: bytes, target: bytes, prefix: bytes, path: bytes) -> None:
    assert link_path(link, target, prefix) == path


@pytest.mark.parametrize(
    "target", [b"../../etc/passwd", b"/etc/passwd", b"a//b", b"a/./b", b"", b"/", b"x" * 256, b"a\0b", b"\xff"]
)
def test_a_target_that_no_path_of_the_mount_can_reach(target: bytes) -> None:
    assert link_path(b"a/link", target, b"") is None
    assert link_path(b"p/link", target, b"p/") is None
    assert link_path(b"p/link", b"p/" + target, b"p/") is None
