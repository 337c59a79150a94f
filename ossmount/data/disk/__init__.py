"""The page cache on local disks: what was fetched once is read from there by later epochs, mounts and processes."""
