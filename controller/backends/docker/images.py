"""Fetch images: one pull for all who wait for the same image, and none again right after a failure."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

import aiohttp
from aiodocker import DockerError

from controller.backends.docker.answers import read_as
from controller.backends.docker.credentials import credentials_for
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import Unreachable, sort_pull
from controller.backends.pull_secrets import registry_of
from controller.errors import AgentpoolError, Refused

log = logging.getLogger(__name__)

FAILURE_SECONDS = 10.0
"""For how long a failed pull is answered by its error, without asking the registry again."""
SILENCE_SECONDS = 300.0
"""After how long without any progress a pull is given up."""

_Key = tuple[str, str | None]
"""An image, and the credentials with which it is fetched."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: AgentpoolError
    until: float


class Images:
    """The images of one engine."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._pulls: dict[_Key, asyncio.Task[None]] = {}
        self._failures: dict[_Key, _Failure] = {}

    async def pull(self, image: str, secret: str | None) -> None:
        """Fetch an image, or wait for who is at it. ``Refused`` with what its registry has against it."""
        key = image, credentials_for(image, secret)
        try:
            await self._pull_once(key)
        except Refused as error:
            if error.reason != "ImagePullDenied" or secret is None or key[1] is not None:
                raise
            raise Refused(error.reason, f"{error}; the imagePullSecret has nothing for {registry_of(image)}") from None

    async def _pull_once(self, key: _Key) -> None:
        self._failures = {each: failure for each, failure in self._failures.items() if failure.until > self._clock()}
        if failure := self._failures.get(key):
            raise failure.error
        if key not in self._pulls:
            self._pulls[key] = asyncio.create_task(self._pull(key))
            self._pulls[key].add_done_callback(partial(self._pulled, key))
        # Whoever gives up leaves the pull to the others.
        await asyncio.shield(self._pulls[key])

    def _pulled(self, key: _Key, task: asyncio.Task[None]) -> None:
        self._pulls.pop(key)
        if not task.cancelled():
            # Retrieved here too, in case everybody has given up.
            task.exception()

    async def close(self) -> None:
        """Let go of what is being fetched."""
        pulls = list(self._pulls.values())
        for pull in pulls:
            pull.cancel()
        if pulls:
            await asyncio.wait(pulls)

    async def _pull(self, key: _Key) -> None:
        image, credentials = key
        log.info("pulling %s", image)
        try:
            await self._fetch(image, credentials)
        except DockerError as answer:
            error = sort_pull(answer, image)
            self._failures[key] = _Failure(error, self._clock() + FAILURE_SECONDS)
            raise error from None
        except asyncio.CancelledError:
            raise Unreachable(f"the pull of {image} was given up: the operator is stopping") from None
        log.info("pulled %s", image)

    async def _fetch(self, image: str, credentials: str | None) -> None:
        # Without a tag the engine would fetch every one that there is.
        named = ":" in image.rpartition("/")[2] or "@" in image
        params = {"fromImage": image if named else f"{image}:latest"}
        headers = {"X-Registry-Auth": credentials} if credentials is not None else None
        last = ""
        async with self._engine.stream(
            "POST", "images/create", params=params, headers=headers, silence=SILENCE_SECONDS
        ) as response:
            async for line in lines(response):
                last = pull_status(line)
        # The last words of a pull that was carried through.
        if not last.startswith("Status:"):
            raise Unreachable(f"the pull of {image} broke off")


def pull_status(line: bytes) -> str:
    """What a pull says of how far it is; ``DockerError`` with what it failed of."""
    with read_as("a step of a pull"):
        step = json.loads(line)
        if isinstance(step, dict) and ("error" in step or "errorDetail" in step):
            raise DockerError(200, str(step.get("error") or step["errorDetail"]))
        return str(step.get("status", "")) if isinstance(step, dict) else ""


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an answer, however long they are."""
    rest = b""
    async for chunk in response.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
    if rest.strip():
        yield rest
