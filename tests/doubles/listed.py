"""A backend whose answers a test holds in its hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from controller.ports import LaunchOrder, Pace, Remote, RemoteState


def remote(uid: str, state: RemoteState = RemoteState.RUNNING) -> Remote:
    """A remote as such a backend shows it."""
    return Remote(uid, f"pid-{uid}", state, f"http://127.0.0.1/{uid}")


class ListedBackend:
    """Its list answers what there was when it began, as long as it takes, or fails."""

    def __init__(self, *present: str, pace: Pace | None = None) -> None:
        self.present = {uid: remote(uid) for uid in present}
        self.seconds = 0.0
        self.error: Exception | None = None
        self.lists = 0
        self.asked = asyncio.Event()
        self.hints: asyncio.Queue[Remote | Exception] = asyncio.Queue()
        self.gone = True
        """What an end is answered with."""
        self.closed = False
        self._pace = pace or Pace()

    @property
    def pace(self) -> Pace:
        return self._pace

    async def list(self) -> Sequence[Remote]:
        self.lists += 1
        self.asked.set()
        answer, error = list(self.present.values()), self.error
        await asyncio.sleep(self.seconds)
        if error is not None:
            raise error
        return answer

    async def changes(self) -> AsyncIterator[Remote]:
        while True:
            hint = await self.hints.get()
            if isinstance(hint, Exception):
                raise hint
            yield hint

    async def launch(self, order: LaunchOrder) -> Remote:
        raise NotImplementedError

    async def terminate(self, uid: str, *, grace: float) -> bool:
        return self.gone

    async def pause(self, uid: str) -> Remote:
        raise NotImplementedError

    async def resume(self, uid: str) -> Remote:
        raise NotImplementedError

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        raise NotImplementedError

    def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed = True


class Ear:
    """Hears the news of pictures."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.listed: list[str] = []
        self.admitted: list[str] = []
        self.waiting: set[str] = set()
        """Who still waits to be launched."""
        self.used = True

    def admit(self, uid: str) -> bool:
        """Note that it may be launched, if it waits."""
        if uid in self.waiting:
            self.admitted.append(uid)
        return uid in self.waiting
