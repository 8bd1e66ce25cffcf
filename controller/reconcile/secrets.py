"""Secrets: what they hold, read at the last moment, or a sentence that says what is missing."""

from collections.abc import Awaitable, Callable

from controller.errors import Missing, Refused
from controller.model import INSTALLATION, SecretKeyRef
from controller.ports import Cluster
from controller.reconcile.documents import TOKEN_SECRET


class Secrets:
    """Reads single values, and keeps none."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def value(self, namespace: str, name: str, key: str) -> str:
        """One key of a Secret as it is now; ``Missing`` names the Secret or key that is not there, and
        ``Refused`` one that is for the operator only.
        """
        if name == INSTALLATION:
            # Where its key still is, whoever knew it could derive the token of every instance of that version.
            raise Refused("SecretOfTheOperator", f"Secret {name} is for the operator only: name another one")
        try:
            stored = await self._cluster.read_secret(namespace, name)
        except Missing:
            raise Missing(f"Secret {name} does not exist in namespace {namespace}: create it") from None
        if stored.type == TOKEN_SECRET:
            # Whoever may make a claim could have its agent tell the token of another one.
            raise Refused("SecretOfAnInstance", f"Secret {name} holds the token of an instance: name another one")
        if key not in stored.content:
            raise Missing(f"Secret {name} has no key {key}: add it")
        return stored.content[key]

    def of(self, namespace: str) -> Callable[[SecretKeyRef], Awaitable[str]]:
        """Reads values of one namespace."""

        async def read(reference: SecretKeyRef) -> str:
            return await self.value(namespace, reference.name, reference.key)

        return read
