"""Credentials for a registry, out of a Secret of type kubernetes.io/dockerconfigjson: for every backend that pulls."""

import base64
import binascii
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from controller.errors import Refused

DOCKER_HUB = "docker.io"
_NAMES_OF_THE_HUB = {"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}


def registry_of(image: str) -> str:
    """The host (and port) of the registry that an image's name names."""
    return _split(image)[0]


def login_for(image: str, secret: str | None) -> Mapping[str, str] | None:
    """``username`` and ``password``, or ``identitytoken``, for the registry of an image.

    ``None`` when the Secret has nothing for it, ``Refused`` when it is no such thing; nothing of its content gets into
    the message.
    """
    if secret is None:
        return None
    entry = _entry_for(image, _entries(secret))
    if entry is None:
        return None
    try:
        return _login(entry)
    except (ValueError, UnicodeError, binascii.Error):
        raise _invalid(f"its entry for {registry_of(image)} holds neither a user and a password, nor an auth") from None


def _entries(secret: str) -> Mapping[str, Any]:
    try:
        content = json.loads(secret)
    except (ValueError, RecursionError):
        raise _invalid("it is no JSON") from None
    entries = content.get("auths") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise _invalid("it has no object 'auths'")
    return entries


def _entry_for(image: str, entries: Mapping[str, Any]) -> Any:
    """The most specific entry whose registry, and path if it has one, the image is below."""
    host, path = _split(image)
    best, length = None, -1
    for key, entry in entries.items():
        their_host, their_path = _normal(key)
        below = not their_path or path == their_path or path.startswith(their_path + "/")
        if fnmatchcase(host, their_host) and below and len(their_path) > length:
            best, length = entry, len(their_path)
    return best


def _login(entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict):
        raise ValueError("no object")
    token, auth = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return {"identitytoken": token}
    user, password = entry.get("username"), entry.get("password")
    if isinstance(auth, str) and auth:
        user, separator, password = base64.b64decode(auth, validate=True).decode().partition(":")
        if not separator:
            raise ValueError("no password")
    if not isinstance(user, str) or not isinstance(password, str):
        raise ValueError("no password")
    return {"username": user, "password": password.rstrip("\0")}


def _split(image: str) -> tuple[str, str]:
    name = image.partition("@")[0]
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, path = first, rest
    else:
        host, path = DOCKER_HUB, name
    if ":" in path.rpartition("/")[2]:
        path = path.rpartition(":")[0]
    return (DOCKER_HUB if host in _NAMES_OF_THE_HUB else host), path


def _normal(key: str) -> tuple[str, str]:
    """The host and path of a key of ``auths``, which may be a URL, and of which version of the protocol it likes."""
    host, _, path = key.partition("://")[2].partition("/") if "://" in key else key.partition("/")
    path = path.strip("/")
    if path in {"v1", "v2"}:
        path = ""
    return (DOCKER_HUB if host in _NAMES_OF_THE_HUB else host), path


def _invalid(why: str) -> Refused:
    return Refused(
        "InvalidPullSecret",
        f"the Secret that imagePullSecret names cannot be used: {why}; make it with "
        "'kubectl create secret docker-registry'",
    )
