"""What runs a mount on a node or in a container for somebody else: entrypoints, and later a CSI driver. Standard library only."""
