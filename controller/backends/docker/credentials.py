"""Credentials for a registry, in the form in which the engine takes them."""

import base64
import json

from controller.backends.pull_secrets import login_for, registry_of


def credentials_for(image: str, secret: str | None) -> str | None:
    """The header ``X-Registry-Auth`` for an image; ``None`` when the Secret has nothing for its registry.

    ``Refused`` when the Secret is no such thing.
    """
    login = login_for(image, secret)
    if login is None:
        return None
    return base64.urlsafe_b64encode(json.dumps({**login, "serveraddress": registry_of(image)}).encode()).decode()
