"""Mounting and unmounting: mount(2) when privileged, fusermount3 when not."""
