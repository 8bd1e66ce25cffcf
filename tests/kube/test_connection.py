"""How the API server is reached, as a kubeconfig has it."""

from pathlib import Path

import pytest
import yaml

from controller.errors import Misconfigured
from controller.kube.connection import connect


def kubeconfig(folder: Path, server: str) -> Path:
    """One that names this server."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": {"token": "a-token"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


async def test_the_server_of_a_kubeconfig_is_the_one_that_is_asked(tmp_path: Path) -> None:
    connection = await connect(kubeconfig(tmp_path, "http://127.0.0.1:6443/clusters/one/"), None)
    assert connection.server == "http://127.0.0.1:6443/clusters/one"
    assert await connection.authorization() == "Bearer a-token"


@pytest.mark.parametrize(
    "server",
    [
        "https://me:very-secret@k8s.example:6443",
        "https://very-secret@k8s.example",
        "https://me:very/secret@k8s.example",
        "https://me:very-secret\uff20k8s.example",
        "me:very-secret@k8s.example",
    ],
)
async def test_a_server_with_a_password_in_its_address_is_refused_without_showing_it(
    server: str, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured, match="put credentials under users") as caught:
        await connect(kubeconfig(tmp_path, server), None)
    assert "secret" not in str(caught.value)
