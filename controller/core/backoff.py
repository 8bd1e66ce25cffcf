"""How long to wait after failures in a row."""


def backoff(failures: int, *, first: float = 0.25, limit: float = 30.0) -> float:
    """Seconds before the next try: doubling from ``first`` up to ``limit``."""
    return min(limit, first * float(2 ** min(max(failures - 1, 0), 16)))
