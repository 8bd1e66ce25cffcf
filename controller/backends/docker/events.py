"""The engine's stream of events: resumed where it broke off, and never trusted to be complete after a gap."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime

import aiohttp
from aiodocker import DockerError

from controller.backends.docker.answers import read_event
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import Silent, Unreachable, sort
from controller.backends.docker.images import lines
from controller.backends.docker.names import INSTALLATION
from controller.errors import AgentpoolError, Transient

log = logging.getLogger(__name__)

SILENCE_SECONDS = 25.0
"""How long nothing may come: then the stream is asked for anew, which shows whether anybody is still there."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds between tries to reach an engine that is gone."""
ACTIONS = ("start", "die", "oom", "pause", "unpause", "rename", "destroy")


class Events:
    """What happens to containers of this installation."""

    def __init__(
        self,
        engine: Engine,
        installation: str,
        happened: Callable[[str, str], None],
        caught_up: Callable[[], Awaitable[None]],
        lost: Callable[[Transient], None],
    ) -> None:
        """``happened`` gets uid and container; ``caught_up`` looks at everything, as something may be missing.

        ``lost`` hears why the engine is not followed for a while; nothing is called twice for one outage.
        """
        self._engine = engine
        self._installation = installation
        self._happened = happened
        self._caught_up = caught_up
        self._lost = lost
        self._since = ""
        self._gap = True
        self._failures = 0

    async def run(self) -> None:
        """Follow the engine until cancelled."""
        while True:
            try:
                await self._follow()
                # The engine ends a stream when it is shut down.
                raise Unreachable(f"the Docker engine at {self._engine.address.text} was shut down")
            except Silent:
                continue
            except DockerError as answer:
                self._missed(sort(answer))
            except (AgentpoolError, ValueError, KeyError) as error:
                self._missed(error)
            except Exception as error:
                log.exception("the engine's events cannot be read")
                self._missed(error)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures)
            self._failures += 1
            await asyncio.sleep(pause)

    def _missed(self, error: Exception) -> None:
        if self._failures == 0:
            log.info("the events of %s are not followed: %s", self._engine.address.text, error)
        if not self._gap:
            self._lost(Transient(f"the engine's events broke off: {error}"))
        self._gap = True

    async def _follow(self) -> None:
        filters = {"type": ["container"], "label": [f"{INSTALLATION}={self._installation}"], "event": list(ACTIONS)}
        params = {"filters": json.dumps(filters)} | ({"since": self._since} if self._since else {})
        async with self._engine.stream("GET", "events", params=params, silence=SILENCE_SECONDS) as response:
            self._since = self._since or _time_of(response)
            if self._gap:
                # With the stream open, nothing can happen unseen after this look.
                await self._caught_up()
                log.info("following the events of %s", self._engine.address.text)
            self._gap, self._failures = False, 0
            async for line in lines(response):
                event = read_event(line)
                self._since = event.moment
                if event.uid:
                    self._happened(event.uid, event.container)


def _time_of(response: aiohttp.ClientResponse) -> str:
    """The engine's own time when the stream began: a stream that breaks before its first event resumes there."""
    date = response.headers.get("Date")
    return str(int(parsedate_to_datetime(date).timestamp())) if date else ""
