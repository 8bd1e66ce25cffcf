"""Logins of registries: what of a pull Secret is confidential."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any


def confidential_in(pull_secret: str) -> list[str]:
    """All that opens a registry, in each form in which it may be quoted; of what cannot be read, the whole text."""
    try:
        content = json.loads(pull_secret)
    except (ValueError, RecursionError):
        return [pull_secret]
    logins = content.get("auths") if isinstance(content, dict) else None
    if not isinstance(logins, dict) or not all(isinstance(login, dict) for login in logins.values()):
        return [pull_secret]
    return [form for login in logins.values() for form in _forms(login)]


def _forms(login: Mapping[str, Any]) -> Iterator[str]:
    for name in ("password", "auth", "identitytoken", "registrytoken"):
        value = login.get(name)
        if isinstance(value, str):
            yield value
            if name == "auth":
                yield from _decoded(value)


def _decoded(auth: str) -> Iterator[str]:
    with suppress(ValueError):
        user_and_password = base64.b64decode(auth, validate=True).decode()
        yield user_and_password
        yield user_and_password.partition(":")[2].rstrip("\0")
