"""What the numbers of a mount mean: pure functions of what `ossmount status --json` says."""
