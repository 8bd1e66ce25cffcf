"""The world of the railway backend: services of one environment of a Railway on loopback."""

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx
import psutil

from controller.backends.railway.address import Address
from controller.backends.railway.backend import RailwayBackend
from controller.backends.railway.budget import PLANS
from controller.backends.railway.client import open_http
from controller.backends.railway.documents import DOCUMENTS
from controller.backends.railway.provider import RailwayProvider, Surroundings
from controller.errors import AgentpoolError, Transient
from controller.model import BackendSpec, SecretKeyRef, Template
from controller.ports import Backend, LaunchOrder, Pace, Place, Remote, RemoteState
from tests.contract.backend.harness import eventually
from tests.railway import Twin

IMAGE = "registry.example/agents/stub:1"
LOOK_SECONDS = 0.1


class Clock:
    """Goes as time does, and ahead of it when told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class RailwayHarness:
    """One environment of the twin. The controller's part, which is to look every now and then, is done here."""

    pauses = False
    renames = True
    asks = False
    exit_told = "crashed"
    kill_told = "crashed"

    def __init__(self, twin: Twin, environment: str = "dev") -> None:
        self.twin = twin
        self.environment_id = twin.environments[environment].id
        self.token = twin.project_tokens[environment]
        self.installation = "installation-1"
        self.opened: list[tuple[RailwayBackend, RailwayProvider, asyncio.Task[None]]] = []
        self.doomed: list[RailwayProvider] = []
        self.clock = Clock()

    async def make(self, installation: str | None = None) -> RailwayBackend:
        provider = self._provider(installation or self.installation, open_http())
        backend = provider.connect(Place("place", self.spec(), self._secret))
        self.opened.append((backend, provider, asyncio.create_task(_look_for_ever(backend))))
        return backend

    async def make_doomed(self, transport: httpx.AsyncHTTPTransport) -> RailwayBackend:
        """A backend whose requests go another way; nobody looks by itself."""
        provider = self._provider(self.installation, httpx.AsyncClient(transport=transport))
        backend = provider.connect(Place("doomed", self.spec(), self._secret))
        self.doomed.append(provider)
        return backend

    def connect(
        self, spec: BackendSpec, token: str | AgentpoolError, *, provider: RailwayProvider | None = None
    ) -> RailwayBackend:
        """A backend of another place; nobody looks by itself."""

        async def secret(_: SecretKeyRef) -> str:
            if isinstance(token, AgentpoolError):
                raise token
            return token

        return (provider or self.provider()).connect(Place(str(uuid.uuid4()), spec, secret))

    def provider(self) -> RailwayProvider:
        """One of this installation."""
        provider = self._provider(self.installation, open_http())
        self.doomed.append(provider)
        return provider

    async def stop_looking(self) -> None:
        """From now on nobody looks by itself."""
        for backend, _, looking in self.opened:
            looking.cancel()
            await asyncio.wait([looking])
            # A look that was under way comes to its end before this one.
            await backend.list()

    def age(self, seconds: float) -> None:
        """Let time pass for all backends."""
        self.clock.ahead += seconds

    async def ask(self, name: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a person does at Railway, with a token for everything."""
        body = {"query": DOCUMENTS[name].text, "operationName": name, "variables": dict(variables)}
        headers = {"Authorization": f"Bearer {self.twin.token}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
            answer = (await client.post(self.twin.url, params={"source": "person"}, json=body)).json()
        assert "errors" not in answer, answer
        data: Mapping[str, Any] = answer["data"]
        return data

    def spec(self, **options: Any) -> BackendSpec:
        return BackendSpec.model_validate({
            "railway": {
                "projectId": self.twin.project_id,
                "environmentId": self.environment_id,
                "tokenSecretRef": {"name": "railway", "key": "token"},
                "plan": "Pro",
                "terminationGraceSeconds": 0,
                **options,
            }
        })  # fmt: skip

    def _provider(self, installation: str, http: httpx.AsyncClient) -> RailwayProvider:
        return RailwayProvider(
            Address(self.twin.url, self.twin.edge_url),
            installation,
            http,
            surroundings=Surroundings(settle=0.0, clock=self.clock, sleep=_sleep),
            paces=dict.fromkeys(PLANS, Pace(LOOK_SECONDS, LOOK_SECONDS)),
        )

    async def _secret(self, _: SecretKeyRef) -> str:
        return self.token

    def order(
        self,
        uid: str,
        behaviour: str = "serve",
        env: Mapping[str, str] | None = None,
        railway: Mapping[str, Any] | None = None,
        **template: Any,
    ) -> LaunchOrder:
        return LaunchOrder(
            uid=uid,
            name=f"pool-{uid}",
            namespace="default",
            pool="pool",
            backend=self.spec(**(railway or {})),
            template=Template.model_validate({"image": IMAGE, **template}),
            env={"BEHAVIOUR": behaviour, **(env or {})},
        )

    async def settled(self, backend: Backend, remote: Remote) -> Remote:
        async def look() -> Remote | None:
            try:
                found = {each.uid: each for each in await backend.list()}.get(remote.uid)
            except Transient:
                return None
            settled = found is not None and found.state not in {RemoteState.BUILDING, RemoteState.DEPLOYING}
            return found if settled else None

        settled: Remote = await eventually(look)
        return settled

    async def ready(self, uid: str) -> None:
        await eventually(lambda: self._answer(uid))

    async def environment(self, uid: str) -> Mapping[str, str]:
        """What it sees, as Railway would have given it: the twin itself has to change what is of this host."""
        seen: dict[str, str] = json.loads(await eventually(lambda: self._answer(uid)))
        return seen

    async def kill_remote(self, uid: str) -> None:
        for service in self.services(uid):
            self.twin.control.kill(service)

        async def none_runs() -> bool:
            return await self.count_running(uid) == 0

        await eventually(none_runs)

    async def count_running(self, uid: str) -> int:
        """Processes that were started with the label of the instance."""
        return sum(_environ(each).get("AGENTPOOL_LABEL_INSTANCE") == uid for each in psutil.process_iter())

    async def is_frozen(self, uid: str) -> bool:
        return False

    def services(self, uid: str) -> list[str]:
        """Ids of what Railway really has of an instance."""
        return [key for key, each in self.state()["services"].items() if each["label"] == uid and not each["deleted"]]

    def state(self) -> dict[str, Any]:
        """The environment as it really is."""
        state: dict[str, Any] = self.twin.control.state()["projects"][self.twin.project_id]["environments"]
        found: dict[str, Any] = state[self.environment_id]
        return found

    async def close(self) -> None:
        for backend, provider, looking in self.opened:
            looking.cancel()
            await asyncio.wait([looking])
            await backend.close()
            await provider.close()
        for provider in self.doomed:
            await provider.close()

    async def _answer(self, uid: str) -> bytes | None:
        domains = [each["domains"] for each in self.state()["services"].values() if each["label"] == uid]
        if not domains or not domains[0]:
            return None
        async with httpx.AsyncClient() as client:
            answer = await client.get(self.twin.edge_url.replace("{domain}", domains[0][0]))
            return answer.content if answer.is_success else None


async def _sleep(seconds: float) -> None:
    """Pauses are shorter here, as everything of the twin is."""
    await asyncio.sleep(seconds / 10)


async def _look_for_ever(backend: RailwayBackend) -> None:
    while True:
        with suppress(AgentpoolError):
            await backend.list()
        await asyncio.sleep(LOOK_SECONDS)


def _environ(process: psutil.Process) -> Mapping[str, str]:
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except (psutil.Error, OSError):
        return {}
