"""Where instances run: one module per backend, found by the name that a pool's spec gives it."""

KNOWN = ("process", "docker")
"""Modules of this package that hold a backend."""
