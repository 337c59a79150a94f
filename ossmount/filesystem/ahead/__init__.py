"""Look-ahead across files: which whole small files are fetched before they are read, in which order and how far ahead."""
