"""The operator hands hints on to whoever wants them."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import orjson
import pytest
from pydantic import SecretStr

from controller.app import serve
from controller.model.crd import custom_resource_definitions
from controller.ports import Backend, FixedPlace, Place, Provider
from controller.settings import Settings
from controller.standalone import StandaloneServer
from tests.doubles.listed import ListedBackend

SECRET = "an-open-sesame-of-32-characters_"


class Eager:
    """A provider that takes hints."""

    def __init__(self) -> None:
        self.hints: list[tuple[str | None, ...]] = []
        self.closed = False

    def connect(self, place: Place) -> Backend:
        raise NotImplementedError

    def hinted(self, project_id: str | None, environment_id: str | None, service_id: str | None) -> None:
        self.hints.append((project_id, environment_id, service_id))

    async def close(self) -> None:
        self.closed = True


async def post(port: int, name: str) -> int:
    body = orjson.dumps({"type": "Deployment.deployed", "resource": {"project": {"id": name}}})
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/webhooks/railway/{SECRET}", data=body) as answer,
    ):
        return answer.status


async def test_a_webhook_reaches_every_provider_that_takes_hints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tuning in ("freeze", "set_threshold"):
        monkeypatch.setattr(f"controller.app.gc.{tuning}", lambda *_: None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    eager, stop = Eager(), asyncio.Event()
    async with StandaloneServer(tmp_path, port=0, crds=custom_resource_definitions()) as server:
        settings = Settings(kubeconfig=server.kubeconfig, http_port=port, webhook_secret=SecretStr(SECRET))
        backends: dict[str, Provider] = {"railway": eager, "process": FixedPlace(ListedBackend())}
        serving = asyncio.ensure_future(serve(settings, stop=stop, backends=backends))
        async with asyncio.timeout(60):
            while not eager.hints:
                await asyncio.sleep(0.05)
                if serving.done():
                    serving.result()
                try:
                    assert await post(port, "p") == 204
                except aiohttp.ClientConnectionError:
                    continue
        stop.set()
        await serving
    assert eager.hints[0] == ("p", None, None)
    assert not eager.closed  # whoever brings providers closes them
