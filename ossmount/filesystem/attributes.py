"""From a node to the fields of struct stat."""

from __future__ import annotations

import stat

from ossmount.config import FilesystemConfig
from ossmount.filesystem.interface import Attributes, Common
from ossmount.model import Kind, Node

_BLOCK = 512  # what st_blocks counts, whatever the block size


class AttributeMaker:
    """Turns nodes into attributes, with the owner and the permission bits that the mount was given.

    Permission bits are 0777 for directories and 0666 for files, both without those of the umask; the kernel checks them
    (default_permissions). A directory has one link: its sub-directories are not counted, and 1 tells `find` so.
    """

    def __init__(self, config: FilesystemConfig) -> None:
        self._uid = config.uid
        self._gid = config.gid
        self._modes = {
            Kind.FILE: stat.S_IFREG | (0o666 & ~config.umask),
            Kind.DIRECTORY: stat.S_IFDIR | (0o777 & ~config.umask),
            Kind.SYMLINK: stat.S_IFLNK | 0o777,
        }

    def __call__(self, node: Node) -> Attributes:
        size = node.size
        return Attributes(
            node.id,
            self._modes[node.kind],
            1,
            self._uid,
            self._gid,
            size,
            (size + _BLOCK - 1) // _BLOCK,
            node.mtime_ns,
        )

    def common(self, kind: Kind, entry_valid: float, attr_valid: float) -> Common:
        """What all nodes of one kind have in common."""
        return Common(self._modes[kind], 1, self._uid, self._gid, entry_valid, attr_valid)
