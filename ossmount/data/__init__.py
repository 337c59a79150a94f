"""Bytes: file reader, readahead, page cache. Never imports ossmount.metadata."""
