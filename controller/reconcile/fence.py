"""The fence: every effect of the controller asks it right before it is sent, and has none once it is closed.

The controller is cancelled when it may write no more. The fence is for what gets its turn before that: once a process
that was stopped for a while goes on, answers that wait are dealt with before the clock is looked at. What was sent
before cannot be called back; docs/high-availability.md says of each effect why that does no harm.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

from controller.ports import (
    Announcement,
    AnyResource,
    Backend,
    Cluster,
    Endpoint,
    Fence,
    FixedPlace,
    LaunchOrder,
    Pace,
    Place,
    Provider,
    Provisioned,
    ProvisionOrder,
    Readiness,
    Remote,
    Runtime,
    StoredSecret,
)


class FencedCluster:
    """The API server: reads pass, writes ask."""

    def __init__(self, cluster: Cluster, fence: Fence) -> None:
        self._cluster = cluster
        self._fence = fence

    async def list(self, kind: type[AnyResource]) -> Sequence[AnyResource]:
        """Pass on."""
        return await self._cluster.list(kind)

    async def read(self, kind: type[AnyResource], namespace: str, name: str) -> AnyResource:
        """Pass on."""
        return await self._cluster.read(kind, namespace, name)

    async def create(self, kind: type[AnyResource], namespace: str, body: Mapping[str, Any]) -> AnyResource:
        """Ask, then create."""
        self._fence()
        return await self._cluster.create(kind, namespace, body)

    async def patch(
        self,
        kind: type[AnyResource],
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        subresource: Literal["", "status"] = "",
    ) -> AnyResource:
        """Ask, then patch."""
        self._fence()
        return await self._cluster.patch(kind, namespace, name, body, subresource=subresource)

    async def delete(
        self, kind: type[AnyResource], namespace: str, name: str, *, uid: str, version: int | None = None
    ) -> AnyResource | None:
        """Ask, then delete."""
        self._fence()
        return await self._cluster.delete(kind, namespace, name, uid=uid, version=version)

    async def read_secret(self, namespace: str, name: str) -> StoredSecret:
        """Pass on."""
        return await self._cluster.read_secret(namespace, name)

    async def create_secret(self, namespace: str, body: Mapping[str, Any]) -> StoredSecret:
        """Ask, then create."""
        self._fence()
        return await self._cluster.create_secret(namespace, body)

    async def patch_secret(self, namespace: str, name: str, body: Mapping[str, Any]) -> StoredSecret:
        """Ask, then patch."""
        self._fence()
        return await self._cluster.patch_secret(namespace, name, body)

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, str]:
        """Pass on."""
        return await self._cluster.read_config_map(namespace, name)

    async def announce(self, announcement: Announcement) -> None:
        """Ask, then publish."""
        self._fence()
        await self._cluster.announce(announcement)


class FencedRuntime:
    """The runtimes: questions pass, provisioning asks."""

    def __init__(self, runtime: Runtime, fence: Fence) -> None:
        self._runtime = runtime
        self._fence = fence

    async def probe(self, endpoint: Endpoint, *, timeout: float) -> Readiness:  # noqa: ASYNC109 - part of the port
        """Pass on."""
        return await self._runtime.probe(endpoint, timeout=timeout)

    async def provision(self, endpoint: Endpoint, order: ProvisionOrder, *, timeout: float) -> Provisioned:  # noqa: ASYNC109
        """Ask, then provision."""
        self._fence()
        return await self._runtime.provision(endpoint, order, timeout=timeout)

    async def conversation(self, endpoint: Endpoint, *, timeout: float) -> str | None:  # noqa: ASYNC109
        """Pass on."""
        return await self._runtime.conversation(endpoint, timeout=timeout)

    async def close(self) -> None:
        """Pass on."""
        await self._runtime.close()


class FencedBackend:
    """A place where instances run: looking passes, everything else asks."""

    def __init__(self, backend: Backend, fence: Fence) -> None:
        self._backend = backend
        self._fence = fence

    @property
    def pace(self) -> Pace:
        """Pass on."""
        return self._backend.pace

    async def launch(self, order: LaunchOrder) -> Remote:
        """Ask, then launch."""
        self._fence()
        return await self._backend.launch(order)

    async def terminate(self, uid: str, *, grace: float) -> bool:
        """Ask, then terminate."""
        self._fence()
        return await self._backend.terminate(uid, grace=grace)

    async def pause(self, uid: str) -> Remote:
        """Ask, then pause."""
        self._fence()
        return await self._backend.pause(uid)

    async def resume(self, uid: str) -> Remote:
        """Ask, then resume."""
        self._fence()
        return await self._backend.resume(uid)

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        """Ask, then rename."""
        self._fence()
        return await self._backend.rename(uid, pool=pool, agent_name=agent_name)

    def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        """Pass on."""
        return self._backend.logs(uid, tail=tail, follow=follow)

    async def list(self) -> Sequence[Remote]:
        """Pass on."""
        return await self._backend.list()

    def changes(self) -> AsyncIterator[Remote]:
        """Pass on."""
        return self._backend.changes()

    async def close(self) -> None:
        """Pass on."""
        await self._backend.close()


class FencedProvider:
    """A provider whose places are all fenced."""

    def __init__(self, provider: Provider, fence: Fence) -> None:
        self._provider = provider
        self._fence = fence

    def connect(self, place: Place) -> Backend:
        """The fenced backend there."""
        return FencedBackend(self._provider.connect(place), self._fence)

    async def close(self) -> None:
        """Pass on."""
        await self._provider.close()


def fenced(provider: Provider, fence: Fence) -> Provider:
    """The same provider behind the fence."""
    if isinstance(provider, FixedPlace):
        return FixedPlace(FencedBackend(provider.backend, fence))
    return FencedProvider(provider, fence)
