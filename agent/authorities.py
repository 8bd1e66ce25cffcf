"""Whom to trust on the other side of TLS: read only where there is another side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unread_unless(needed: bool) -> Iterator[None]:
    """Import aiohttp in here: at that moment it reads all authorities of the host, which is a quarter of a start.

    What was imported with none of them trusts nobody.
    """
    if needed:
        yield
        return
    former = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        if former is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = former
