"""POSIX meaning: nodes, attributes, errno. Knows no HTTP and no structs of the FUSE protocol."""
