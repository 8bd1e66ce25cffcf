"""``python -m tests.bench``: how fast claims are bound, and what that costs, against a genuine API server."""
