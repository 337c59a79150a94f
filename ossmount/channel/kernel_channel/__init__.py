"""The channel that speaks the kernel's FUSE protocol itself."""
