"""The yardstick: ossmount beside its peers and beside the limits of the machine."""
