"""Protocol adapters between the kernel and the filesystem: unpack, call, pack, one error boundary."""
