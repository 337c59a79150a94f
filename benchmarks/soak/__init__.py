"""A long run over a bucket that changes, with every process of the mount watched: `python -m benchmarks.soak --help`."""
