"""The only place that imports oss2 or opens a socket to OSS."""
