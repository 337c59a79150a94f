"""What a reader sees, over both channels: bytes, attributes, refusals, names, versions, users."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import random
import stat
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ossmount.channel import mounting
from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, LIMIT, NOBODY, Mount, Workshop, as_nobody, read_mapped, workshop

MTIME = 1_700_000_000  # seconds
BIG = random.Random(1).randbytes(5 * 2**20 + 12_345)
ODD_NAMES = [
    "with space",
    "new\nline",
    "tab\there",
    "back\\slash",
    "quote'\"",
    "-dash",
    "*star?",
    "per%20cent",
    "plus+and&",
    "ümlaut",
    "日本語",
    "\U0001f642",
    ".hidden",
    "...",
    "x" * 255,
    "\x01control\x7f",
]
#: Every object of the tree that can be shown as a file of its own key.
FILES: dict[bytes, bytes] = {
    b"small.txt": b"hello",
    b"empty": b"",
    b"big.bin": BIG,
    b"deep/er/and/deeper/file": b"deep",
    **{b"many/%03d" % number: b"%d" % number * number for number in range(200)},
    **{b"odd/" + name.encode(): name.encode() for name in ODD_NAMES},
}


@pytest.fixture(scope="module", params=["kernel", "pyfuse3"])
def tree(request: pytest.FixtureRequest) -> Iterator[Mount]:
    """One mount of a tree that no test changes."""
    with workshop() as shop:
        store = shop.server.store
        for key, data in FILES.items():
            store.put(BUCKET, key, data, mtime=MTIME)
        store.put(BUCKET, b"marker/", b"", mtime=MTIME)
        store.put(BUCKET, b"both", b"the object", mtime=MTIME)
        store.put(BUCKET, b"both/child", b"the child", mtime=MTIME)
        store.put(BUCKET, b"cold", b"cold", mtime=MTIME, storage_class="IA")
        store.put_symlink(BUCKET, b"links/to-big", b"big.bin", mtime=MTIME)
        store.put_symlink(BUCKET, b"links/to-nothing", b"no/such/key", mtime=MTIME)
        with shop.mounted("--channel", request.param, "-o", "attr_timeout=1h,entry_timeout=1h") as mount:
            yield mount


# -- bytes


def test_every_file_has_its_bytes(tree: Mount) -> None:
    for key, data in FILES.items():
        assert (tree.path / os.fsdecode(key)).read_bytes() == data, key


def test_find_and_sha256sum_agree_with_the_source(tree: Mount) -> None:
    names = "small.txt empty big.bin deep many odd"
    script = f"cd '{tree.path}' && find {names} -type f -print0 | xargs -0 sha256sum --zero"
    done = subprocess.run(["sh", "-c", script], capture_output=True, timeout=LIMIT, check=True)
    found = {line[66:]: line[:64].decode() for line in done.stdout.split(b"\0") if line}
    assert found == {key: hashlib.sha256(data).hexdigest() for key, data in FILES.items()}


def test_reads_at_every_kind_of_place(tree: Mount) -> None:
    choose = random.Random(2)
    with open(tree.path / "big.bin", "rb", buffering=0) as file:
        places = [(0, 1), (0, 4096), (4095, 2), (2**20 - 1, 2), (len(BIG) - 1, 1), (len(BIG) - 1, 100), (len(BIG), 1)]
        places += [(choose.randrange(len(BIG)), choose.choice([1, 4096, 65_536, 2**20])) for _ in range(40)]
        for offset, size in places:
            assert os.pread(file.fileno(), size, offset) == BIG[offset : offset + size], (offset, size)
        assert os.pread(file.fileno(), 10, len(BIG) + 10**6) == b""


def test_many_readers_at_once(tree: Mount) -> None:
    def read(seed: int) -> bool:
        choose = random.Random(seed)
        with open(tree.path / "big.bin", "rb") as file:
            for _ in range(10):
                offset = choose.randrange(len(BIG))
                file.seek(offset)
                if file.read(100_000) != BIG[offset : offset + 100_000]:
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(16)))


def test_mmap(tree: Mount) -> None:
    places = [(len(BIG) - 5, len(BIG)), *((offset, offset + 1) for offset in range(0, len(BIG), 700_001))]
    places.append((1_000_000, 1_100_000))
    path = os.fsencode(tree.path / "big.bin")
    assert read_mapped({path: places}) == {path: [BIG[start:end] for start, end in places]}


# -- attributes


def test_stat(tree: Mount) -> None:
    found = (tree.path / "big.bin").stat()
    assert stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o644
    assert (found.st_size, found.st_nlink, found.st_uid, found.st_gid) == (len(BIG), 1, os.getuid(), os.getgid())
    assert found.st_blocks == (len(BIG) + 511) // 512
    assert found.st_mtime_ns == found.st_ctime_ns == found.st_atime_ns == MTIME * 10**9
    folder = (tree.path / "deep/er").stat()
    assert stat.S_ISDIR(folder.st_mode) and stat.S_IMODE(folder.st_mode) == 0o755
    assert folder.st_dev == found.st_dev == os.stat(tree.path).st_dev
    numbers = [entry.inode() for entry in os.scandir(tree.path / "many")]
    assert len(set(numbers)) == 200
    assert (tree.path / "many/007").stat().st_ino in numbers


def test_statfs_and_the_mount_table(tree: Mount) -> None:
    found = os.statvfs(tree.path)
    assert found.f_flag & os.ST_RDONLY
    assert found.f_namemax == 255
    with open("/proc/self/mounts") as file:
        line = next(line for line in file if f" {tree.path} " in line)
    source, _, kind, options = line.split()[:4]
    assert (source, kind) == (f"oss://{BUCKET}", "fuse.ossmount")
    assert {"ro", "nosuid", "nodev", "default_permissions"} <= set(options.split(","))


def test_extended_attributes(tree: Mount) -> None:
    path = tree.path / "cold"
    assert sorted(os.listxattr(path)) == [f"user.oss.{name}" for name in ("crc64", "etag", "object_type", "storage_class")]
    assert os.getxattr(path, "user.oss.etag").strip(b'"').upper() == hashlib.md5(b"cold").hexdigest().upper().encode()
    assert os.getxattr(path, "user.oss.storage_class") == b"IA"
    assert os.getxattr(path, "user.oss.object_type") == b"Normal"
    record = tree.workshop.server.store.find(BUCKET, b"cold")
    assert record is not None and os.getxattr(path, "user.oss.crc64") == str(record.crc64).encode()
    for name in ("user.other", "security.selinux", "system.posix_acl_access", "trusted.x"):
        with pytest.raises(OSError) as failure:
            os.getxattr(path, name)
        assert failure.value.errno == errno.EOPNOTSUPP, name
    with pytest.raises(OSError) as failure:
        os.getxattr(path, "user.oss.nothing")
    assert failure.value.errno == errno.ENODATA
    assert os.listxattr(tree.path / "deep") == []


def test_symbolic_links(tree: Mount) -> None:
    link = tree.path / "links/to-big"
    assert stat.S_ISLNK(link.lstat().st_mode)
    assert link.read_bytes() == BIG
    assert link.resolve() == tree.path / "big.bin"
    with pytest.raises(FileNotFoundError):
        (tree.path / "links/to-nothing").read_bytes()


# -- refusals

WRITES: dict[str, Callable[[Path], object]] = {
    "open for writing": lambda root: os.open(root / "small.txt", os.O_WRONLY),
    "open for both": lambda root: os.open(root / "small.txt", os.O_RDWR),
    "append": lambda root: os.open(root / "small.txt", os.O_WRONLY | os.O_APPEND),
    "create": lambda root: os.open(root / "new", os.O_WRONLY | os.O_CREAT),
    "truncate": lambda root: os.truncate(root / "small.txt", 0),
    "mkdir": lambda root: os.mkdir(root / "new"),
    "rmdir": lambda root: os.rmdir(root / "marker"),
    "unlink": lambda root: os.unlink(root / "small.txt"),
    "rename": lambda root: os.rename(root / "small.txt", root / "new"),
    "link": lambda root: os.link(root / "small.txt", root / "new"),
    "symlink": lambda root: os.symlink("small.txt", root / "new"),
    "mknod": lambda root: os.mknod(root / "new"),
    "chmod": lambda root: os.chmod(root / "small.txt", 0o777),
    "chown": lambda root: os.chown(root / "small.txt", 1, 1),
    "utime": lambda root: os.utime(root / "small.txt", (0, 0)),
    "setxattr": lambda root: os.setxattr(root / "small.txt", "user.oss.etag", b"x"),
    "removexattr": lambda root: os.removexattr(root / "small.txt", "user.oss.etag"),
}


@pytest.mark.parametrize("name", WRITES)
def test_every_write_is_refused(tree: Mount, name: str) -> None:
    with pytest.raises(OSError) as failure:
        WRITES[name](tree.path)
    assert failure.value.errno == errno.EROFS


def test_errors_of_paths(tree: Mount) -> None:
    for path, code in (
        ("missing", errno.ENOENT),
        ("small.txt/below", errno.ENOTDIR),
        ("x" * 256, errno.ENAMETOOLONG),
        (os.fsdecode(b"not-utf-8-\xff"), errno.ENOENT),
    ):
        with pytest.raises(OSError) as failure:
            os.stat(tree.path / path)
        assert failure.value.errno == code, path
    with pytest.raises(IsADirectoryError):
        (tree.path / "deep").read_bytes()
    with pytest.raises(NotADirectoryError):
        os.listdir(tree.path / "small.txt")


# -- names


def test_listings(tree: Mount) -> None:
    assert sorted(os.listdir(tree.path / "odd")) == sorted(ODD_NAMES)
    assert sorted(os.listdir(tree.path / "many")) == [f"{number:03d}" for number in range(200)]
    assert os.listdir(tree.path / "marker") == []
    top = {entry.name: entry.is_dir(follow_symlinks=False) for entry in os.scandir(tree.path)}
    assert {name for name, is_folder in top.items() if is_folder} == {"deep", "many", "odd", "marker", "links", "both"}
    assert {name for name, is_folder in top.items() if not is_folder} == {
        "small.txt",
        "empty",
        "big.bin",
        "cold",
        "both.~file~",
    }


def test_an_object_beside_a_folder_of_its_name_can_be_read(tree: Mount) -> None:
    assert (tree.path / "both.~file~").read_bytes() == b"the object"
    assert (tree.path / "both/child").read_bytes() == b"the child"


def test_a_listing_can_be_read_again_and_in_part(tree: Mount) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    folder = ctypes.c_void_p(libc.opendir(os.fsencode(tree.path / "many")))

    def name() -> bytes | None:
        entry = libc.readdir(folder)
        return None if entry is None else ctypes.string_at(entry + 19)  # struct dirent: d_name

    try:
        first = [name() for _ in range(50)]
        place = libc.telldir(folder)
        rest = list(iter(name, None))
        libc.seekdir(folder, ctypes.c_long(place))
        assert list(iter(name, None)) == rest
        libc.rewinddir(folder)
        again = list(iter(name, None))
        assert again == first + rest
        assert sorted(set(again) - {b".", b".."}, key=repr) == [b"%03d" % number for number in range(200)]
    finally:
        libc.closedir(folder)


# -- versions


def test_a_replaced_object_is_stale_for_who_has_it_open_and_new_for_who_opens_it(shop: Workshop) -> None:
    old, new = b"o" * 3_000_000, b"n" * 2_000_000
    shop.server.store.put(BUCKET, b"file", old, mtime=MTIME)
    with shop.mounted("-o", "attr_timeout=1h,entry_timeout=1h", "--readahead-count", "0") as mount:
        with open(mount.path / "file", "rb", buffering=0) as file:
            before = os.fstat(file.fileno()).st_ino
            assert os.pread(file.fileno(), 10, 0) == old[:10]
            shop.server.store.put(BUCKET, b"file", new, mtime=MTIME + 1)
            with pytest.raises(OSError) as failure:
                for offset in range(0, len(old), 4096):
                    assert set(os.pread(file.fileno(), 4096, offset)) == {ord("o")}
            assert failure.value.errno == errno.ESTALE
        # The names of the lost version went out with it, though their timeout is an hour.
        assert (mount.path / "file").read_bytes() == new
        after = (mount.path / "file").stat()
        assert after.st_size == len(new) and after.st_ino != before


@pytest.mark.option("negative_timeout")
def test_without_timeouts_every_change_is_seen_at_once(shop: Workshop) -> None:
    store = shop.server.store
    store.put(BUCKET, b"folder/file", b"first")
    with shop.mounted("-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0") as mount:
        path = mount.path / "folder/file"
        for number in range(5):
            data = b"version %d" % number * (number + 1)
            store.put(BUCKET, b"folder/file", data)
            assert path.read_bytes() == data
            assert path.stat().st_size == len(data)
        assert not (mount.path / "folder/other").exists()
        store.put(BUCKET, b"folder/other", b"x")
        assert (mount.path / "folder/other").read_bytes() == b"x"
        assert sorted(os.listdir(mount.path / "folder")) == ["file", "other"]
        store.delete(BUCKET, b"folder/other")
        assert not (mount.path / "folder/other").exists()
        assert os.listdir(mount.path / "folder") == ["file"]


@pytest.mark.option("attr_timeout")
def test_attributes_may_be_believed_for_a_shorter_time_than_names(shop: Workshop) -> None:
    shop.server.store.put(BUCKET, b"folder/file", b"first")
    with shop.mounted("-o", "attr_timeout=0,entry_timeout=1h") as mount:
        path = mount.path / "folder/file"
        for size in range(1, 4):
            shop.server.store.put(BUCKET, b"folder/file", b"x" * size)
            assert path.stat().st_size == size
            assert path.read_bytes() == b"x" * size


@pytest.mark.option("entry_timeout")
def test_without_timeouts_a_new_name_is_in_the_next_listing(shop: Workshop) -> None:
    """Nothing but the listing asks for it: the kernel must not answer from one that it keeps."""
    names = ["name-0"]
    shop.server.store.put(BUCKET, b"folder/name-0", b"")
    with shop.mounted("-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0") as mount:
        for number in range(1, 5):
            assert sorted(os.listdir(mount.path / "folder")) == names
            names.append(f"name-{number}")
            shop.server.store.put(BUCKET, b"folder/" + names[-1].encode(), b"")
        assert sorted(os.listdir(mount.path / "folder")) == names


# -- options


@pytest.mark.option("no_symlink")
def test_no_symlink_shows_what_a_link_points_to(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"file", b"hello")
    plain_shop.server.store.put_symlink(BUCKET, b"folder/link", b"file")
    with plain_shop.mounted("-o", "no_symlink") as mount:
        path = mount.path / "folder/link"
        assert stat.S_ISREG(path.lstat().st_mode)
        assert path.read_bytes() == b"hello"
        assert path.stat().st_size == 5


def test_direct_io_and_open_ask(shop: Workshop) -> None:
    shop.server.store.put(BUCKET, b"file", BIG)
    with shop.mounted("-o", "direct_io,open=ask") as mount:
        assert (mount.path / "file").read_bytes() == BIG


def cat_as_nobody(path: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(as_nobody(["cat", str(path)]), capture_output=True, timeout=LIMIT, check=False)


def test_others_see_nothing_without_allow_other(shop: Workshop) -> None:
    shop.server.store.put(BUCKET, b"file", b"hello")
    with shop.mounted() as mount:
        assert (mount.path / "file").read_bytes() == b"hello"
        done = cat_as_nobody(mount.path / "file")
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"Permission denied" in done.stderr


@pytest.mark.option("allow_other")
def test_with_allow_other_the_mode_bits_decide(shop: Workshop) -> None:
    shop.server.store.put(BUCKET, b"file", b"hello")
    with shop.mounted("-o", "allow_other,umask=077", name="closed") as mount:
        assert b"Permission denied" in cat_as_nobody(mount.path / "file").stderr
    with shop.mounted("-o", f"allow_other,umask=077,uid={NOBODY}", name="owned") as mount:
        assert cat_as_nobody(mount.path / "file").stdout == b"hello"


def test_an_ordinary_user_mounts_through_fusermount3(channel: str) -> None:
    with workshop("nobody") as shop:
        shop.server.store.put(BUCKET, b"folder/file", b"hello")
        with shop.mounted("--channel", channel) as mount:
            assert cat_as_nobody(mount.path / "folder/file").stdout == b"hello"
            status = mount.status()
            assert status["facts"]["channel"]["mounted_by"] == "fusermount3"
            assert "have root write" in status["facts"]["channel"]["read_ahead_problem"]
            assert status["options"]["uid"] == {"value": str(NOBODY), "origin": "default"}
            assert os.stat(f"/proc/{status['daemon_pid']}").st_uid == NOBODY
            with open("/proc/self/mounts") as file:
                assert any(f" {mount.path} " in line and f"user_id={NOBODY}" in line for line in file)
        assert not mounting.find_mount(str(mount.path))


def test_an_ordinary_user_may_not_let_others_in_unless_the_machine_allows_it() -> None:
    with workshop("nobody") as shop:
        path = shop.mountpoint()
        done = shop.run("mount", f"oss://{BUCKET}", str(path), "-o", "allow_other")
        if mounting.user_allow_other():
            assert done.returncode == 0, done.stderr
            assert shop.run("umount", str(path)).returncode == 0
        else:
            assert done.returncode == ExitCode.NO_FUSE
            assert "user_allow_other" in done.stderr
        assert not mounting.find_mount(str(path))
