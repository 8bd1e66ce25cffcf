"""Why containers ended, in the same sentence whoever asks and whenever."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiodocker import DockerError

from controller.backends.docker.answers import read_as
from controller.backends.docker.containers import Container
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import one_line, sort
from controller.backends.docker.output import last_line
from controller.model.quantities import memory_text
from controller.ports import RemoteState

OOM_SECONDS = 0.3
"""How long the engine may need to tell that it was the kernel that killed a container: the exit and the reason are two
events, which come in any order."""


class Exits:
    """Sentences on exits; each is made of two calls, once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, tuple[int | None, str]] = {}

    async def explain(self, container: Container) -> str:
        """Why it ended; empty while it has not."""
        if container.remote_state is not RemoteState.EXITED:
            # A person may start an ended one again.
            self._known.pop(container.id, None)
            return ""
        if not container.ran:
            return "was made, but never started"
        if container.state == "removing":
            return "is being removed"
        code, message = self._known.get(container.id, (None, ""))
        if not message or code != container.exit_code:
            message = await self._read(container)
            self._known[container.id] = container.exit_code, message
        return message

    def keep(self, containers: set[str]) -> None:
        """Forget all but these."""
        self._known = {each: known for each, known in self._known.items() if each in containers}

    async def _read(self, container: Container) -> str:
        try:
            found = await self._engine.get(f"containers/{container.id}/json")
            if may_be_told_more(found):
                await asyncio.sleep(OOM_SECONDS)
                found = await self._engine.get(f"containers/{container.id}/json")
            line = ""
            with suppress(DockerError):
                # Its log may be gone, or of a driver that cannot be read: then its code has to do.
                line = await last_line(self._engine, container.id)
        except DockerError as answer:
            if answer.status == 404:
                return "was removed"
            raise sort(answer) from None
        message = explained(found)
        return message + (f"; last line of its log: {line}" if line else "")


def explained(inspected: Any) -> str:
    """How a container ended, as an inspection shows it."""
    with read_as("an inspection"):
        return sentence(inspected["State"], inspected["HostConfig"].get("Memory") or 0)


def may_be_told_more(inspected: Any) -> bool:
    """Whether it was killed, has a limit, and is not said to have passed it (yet)."""
    with read_as("an inspection"):
        state, limit = inspected["State"], inspected["HostConfig"].get("Memory")
        return bool(limit) and state.get("ExitCode") == 128 + signal.SIGKILL and not state.get("OOMKilled")


def sentence(state: Mapping[str, Any], memory: int) -> str:
    """How a container ended, by its inspected state and its memory limit in bytes (0: none)."""
    code = state.get("ExitCode", 0)
    limit = f"its memory limit of {memory_text(memory)}" if memory else "the memory of its host"
    if state.get("OOMKilled") and code == 128 + signal.SIGKILL:
        return f"exceeded {limit} and was killed"
    how = f"exited with code {code}"
    with suppress(ValueError):
        # An exit code of 128 and more is how the engine tells of a signal.
        how = f"was killed by {signal.Signals(code - 128).name}"
    if state.get("OOMKilled"):
        how += f", after one of its processes had exceeded {limit} and was killed"
    if state.get("Error"):
        how += f": {one_line(state['Error'])}"
    return how
