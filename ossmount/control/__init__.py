"""The daemon's control socket and the list of mounts on this machine."""
