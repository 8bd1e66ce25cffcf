"""Who may come in: the token, and the kubeconfig that carries it."""

import base64
import hmac
import json
import secrets
from pathlib import Path

from controller.standalone.tls import write_private


def token_in(folder: Path) -> str:
    """The server's token, made once."""
    path = folder / "token"
    try:
        if token := path.read_text().strip():
            path.chmod(0o600)
            return token
    except FileNotFoundError:
        pass
    token = secrets.token_urlsafe(32)
    write_private(path, token.encode())
    return token


def is_known(header: str, token: str) -> bool:
    """An Authorization header carries the token; takes as long for a wrong one as for the right one."""
    scheme, _, given = header.partition(" ")
    return hmac.compare_digest(given.strip().encode(errors="replace"), token.encode()) and scheme.lower() == "bearer"


def write_kubeconfig(path: Path, url: str, authority: bytes, token: str) -> None:
    """A kubeconfig (JSON is YAML) for this server."""
    name = "agentpool"
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(authority).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
    }
    write_private(path, json.dumps(config, indent=2).encode() + b"\n")
