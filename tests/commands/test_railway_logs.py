"""agentpool logs of an instance on Railway: over which way in, with whose rights, and what is said without them."""

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.backends import railway
from controller.commands.instance_logs import LogsOrder, show_logs
from controller.commands.invocation import Invocation
from controller.errors import Missing, Refused
from controller.ports import BackendOptions, Place
from controller.settings import Settings
from tests.commands.strict import INSTANCE, OBJECTS, instance_body, strict_server
from tests.doubles.listed import ListedBackend

POOL = f"{OBJECTS}/agentpools/p"
INSTALLATION = {"/api/v1/namespaces/default/configmaps/agentpool-installation": {"data": {"id": "id"}}}


def backend(token: str = "old", environment: str = "e") -> dict[str, Any]:
    reference = {"name": token, "key": "token"}
    return {"railway": {"projectId": "p", "environmentId": environment, "tokenSecretRef": reference}}


def pool(**options: str) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "team", "uid": "u-p", "resourceVersion": "1"}
    spec = {"minIdle": 1, "maxTotal": 2, "backend": backend(**options)}
    return {"apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": meta, "spec": spec}


def secret(name: str, **content: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
    return {f"/api/v1/namespaces/team/secrets/{name}": {"data": data}}


class Told(ListedBackend):
    """Tells over which way it was reached, or that there is nothing."""

    def __init__(self, place: Place, known: set[str]) -> None:
        super().__init__()
        self._place = place
        self._known = known

    async def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        way = self._place.spec.railway
        assert way is not None
        token = await self._place.secret(way.token_secret_ref)
        if uid not in self._known:
            raise Missing(f"Railway has no service of instance {uid}")
        yield f"{self._place.name} {token} {uid} {tail} {follow}\n".encode()


class Provider:
    """Opens such a backend, once."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.opened: list[Told] = []
        self.closed = False

    def connect(self, place: Place) -> Told:
        self.opened.append(Told(place, self.known))
        return self.opened[-1]

    async def close(self) -> None:
        assert all(backend.closed for backend in self.opened)
        self.closed = True


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """What the railway backend is here."""
    provider = Provider("u-x")

    async def open_logs(options: BackendOptions) -> Provider:
        assert options.installation == "id"
        return provider

    monkeypatch.setattr(railway, "open_logs", open_logs)
    for name in [name for name in os.environ if name.startswith("AGENTPOOL_")]:
        monkeypatch.delenv(name)
    return provider


async def show(tmp_path: Path, allowed: dict[str, object]) -> None:
    instance = instance_body(backend()) | {"status": {"phase": "Idle", "backendId": "service-x"}}
    with strict_server(tmp_path, {INSTANCE: instance, **INSTALLATION, **allowed}) as config:
        await show_logs(LogsOrder("x", False, None, 5, False), Settings(kubeconfig=Path(config)), Invocation())


@pytest.mark.parametrize(
    ("allowed", "way", "token"),
    [
        ({POOL: pool(token="new")}, "new", "n"),
        ({POOL: pool(token="new", environment="another")}, "old", "o"),
        ({}, "old", "o"),
    ],
    ids=["as its pool says now", "its pool is elsewhere now", "its pool may not be read"],
)
async def test_the_way_in_is_that_of_the_operator(
    tmp_path: Path, provider: Provider, capfd: pytest.CaptureFixture[str], allowed: dict[str, Any], way: str, token: str
) -> None:
    await show(tmp_path, {**allowed, **secret("old", token="o"), **secret("new", token="n")})
    assert capfd.readouterr().out == f"railway/p/e/team/{way}/token/Project/Hobby {token} u-x 5 False\n"
    assert provider.closed


@pytest.mark.parametrize(
    ("allowed", "says"),
    [
        ({}, 'you lack the right to get Secret old in namespace team: User "eve" cannot get that'),
        (secret("old", other="x"), "Secret old has no key token: add it"),
    ],
    ids=["no right", "no such key"],
)
async def test_a_token_that_cannot_be_had_is_one_sentence(
    tmp_path: Path, provider: Provider, allowed: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused) as caught:
        await show(tmp_path, allowed)
    assert str(caught.value) == says
    assert provider.closed


async def test_a_service_that_is_gone_is_told_with_where_to_look(tmp_path: Path, provider: Provider) -> None:
    provider.known.clear()
    with pytest.raises(Missing) as caught:
        await show(tmp_path, secret("old", token="o"))
    assert str(caught.value) == (
        "Railway has no service of instance u-x, though x is Idle: somebody may have removed its service at Railway, "
        "see the conditions of its pool"
    )
