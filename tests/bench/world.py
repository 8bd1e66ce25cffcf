"""One HTTP server that plays every instance of a pool: the backend, and the runtime inside each of its instances.

``POST|DELETE /launch/{uid}`` and ``GET /launch`` are the backend, ``/i/{uid}/pool/...`` is the runtime of one instance,
``GET /ledger`` tells what happened, so that a scenario can be judged by what the runtimes saw.
"""

import asyncio
import itertools
import signal
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import click
import orjson
import uvloop
from aiohttp import web


@dataclass(slots=True)
class VirtualInstance:
    """One instance that was ever launched, ended ones included."""

    name: str
    alive: bool = True
    keys: list[str] = field(default_factory=list)
    """Every idempotency key that came, the refused ones too: more than one means that two claims were given to it."""
    conversation: str | None = None


class World:
    """All virtual instances by UID."""

    def __init__(self) -> None:
        self._instances: dict[str, VirtualInstance] = {}
        self._alive = 0
        self._peak = 0
        self._conversations = itertools.count(1)

    def launch(self, uid: str, name: str) -> None:
        """Start the instance; nothing if it was ever started."""
        if uid not in self._instances:
            self._instances[uid] = VirtualInstance(name)
            self._alive += 1
            self._peak = max(self._peak, self._alive)

    def end(self, uid: str) -> None:
        """End the instance; nothing if there is none."""
        instance = self._instances.get(uid)
        if instance is not None and instance.alive:
            instance.alive = False
            self._alive -= 1

    def running(self) -> list[str]:
        """UIDs of the instances that live."""
        return [uid for uid, instance in self._instances.items() if instance.alive]

    def ready(self, uid: str) -> bool:
        """Whether the instance lives; a virtual one is ready at once."""
        instance = self._instances.get(uid)
        return instance is not None and instance.alive

    def provision(self, uid: str, key: str) -> tuple[HTTPStatus, dict[str, Any]]:
        """Open the instance's only conversation, or answer as before to the same key."""
        if not self.ready(uid):
            return HTTPStatus.NOT_FOUND, {"error": f"there is no instance {uid}"}
        if not key:
            return HTTPStatus.BAD_REQUEST, {"error": "the header Idempotency-Key is missing"}
        instance = self._instances[uid]
        if key not in instance.keys:
            instance.keys.append(key)
        if key != instance.keys[0]:
            return HTTPStatus.CONFLICT, {"error": "this instance holds another conversation"}
        if instance.conversation is None:
            instance.conversation = f"conversation-{next(self._conversations)}"
        return HTTPStatus.OK, {
            "ok": True,
            "status": "created",
            "joined": False,
            "conversationId": instance.conversation,
            "inviteUrl": f"https://popup.convos.org/v2?i={instance.conversation}",
        }

    def ledger(self) -> dict[str, Any]:
        """Everything that happened, as ``tests.bench.verdict`` reads it."""
        instances = [
            {
                "uid": uid,
                "name": instance.name,
                "alive": instance.alive,
                "keys": instance.keys,
                "conversation": instance.conversation,
            }
            for uid, instance in self._instances.items()
        ]
        return {"peak": self._peak, "instances": instances}


_READY = orjson.dumps({"ready": True, "version": "bench", "runtime": "virtual"})
_NOT_FOUND = orjson.dumps({"error": "not found"})


def _answer(body: bytes, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


class Service:
    """The world over HTTP, without aiohttp's router, since it shares the machine with what is measured."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        match request.path.split("/")[1:]:
            case ["i", uid, "pool", action]:
                return await self._runtime(request, uid, action)
            case ["launch", uid]:
                return await self._backend(request, uid)
            case ["launch"]:
                return _answer(orjson.dumps(self._world.running()))
            case ["ledger"]:
                return _answer(orjson.dumps(self._world.ledger()))
        return _answer(_NOT_FOUND, HTTPStatus.NOT_FOUND)

    async def _runtime(self, request: web.BaseRequest, uid: str, action: str) -> web.Response:
        if action == "health" and self._world.ready(uid):
            return _answer(_READY)
        if action == "provision" and request.method == "POST":
            await request.read()
            status, body = self._world.provision(uid, request.headers.get("Idempotency-Key", ""))
            return _answer(orjson.dumps(body), status)
        return _answer(_NOT_FOUND, HTTPStatus.NOT_FOUND)

    async def _backend(self, request: web.BaseRequest, uid: str) -> web.Response:
        if request.method == "DELETE":
            self._world.end(uid)
            return _answer(b"{}")
        order = orjson.loads(await request.read())
        self._world.launch(uid, order["name"])
        return _answer(b"{}")


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runner = web.ServerRunner(web.Server(Service(World()).handle, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        await stop.wait()
    finally:
        await runner.cleanup()


@click.command()
@click.option("--port", type=int, required=True)
def main(port: int) -> None:
    """Serve the virtual instances on 127.0.0.1 until SIGTERM."""
    uvloop.run(_serve(port))


if __name__ == "__main__":
    main()
