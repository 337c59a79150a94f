"""What a machine, a store and a disk are like before something is mounted: checks that each end in a finding with a remedy."""
