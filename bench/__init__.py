"""Measures against the bare bound, in one run: `make bench`."""
