"""What lies between a caller and an in-memory server. Here nothing goes wrong; a simulation has wires of its own."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from controller.errors import Transient

T = TypeVar("T")


class NoAnswerError(Exception):
    """The server took the request and will never answer it."""


class Wire(Protocol):
    """Carries a request to where its effect happens, at one moment, and the answer back."""

    async def call(self, what: str, effect: Callable[[], T], *, write: bool = True, timeout: float = 15.0) -> T:  # noqa: ASYNC109
        """The effect's answer or error; ``Transient`` where no answer comes in ``timeout`` seconds."""
        ...


class Direct:
    """Every request arrives, and every answer comes."""

    async def call(self, what: str, effect: Callable[[], T], *, write: bool = True, timeout: float = 15.0) -> T:  # noqa: ASYNC109
        await asyncio.sleep(0)
        try:
            return effect()
        except NoAnswerError:
            await asyncio.sleep(timeout)
            raise Transient(f"{what} was not answered in {timeout:g} s") from None
