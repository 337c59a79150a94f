"""Tools of the repository: the set-up and the demo."""
