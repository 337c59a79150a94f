"""Wiring: builds the components of one mount and runs them in one nursery."""
