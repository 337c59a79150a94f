"""What runs mounts on a node or in a container for somebody else. Standard library only."""
