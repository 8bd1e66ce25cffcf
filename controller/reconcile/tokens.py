"""The tokens of instances: each in a Secret that its instance owns, made before the launch, changed once by a claim.

Only the Secret counts. What was made or read is kept in memory by uid, so that no claim waits for it.
"""

import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from controller.errors import Conflict, Missing, Refused, Transient
from controller.model import AgentInstance
from controller.ports import UNAUTHORIZED, Cluster, Endpoint, Runtime, StoredSecret
from controller.reconcile.documents import token_secret, token_secret_name, token_secret_patch
from controller.reconcile.facts import Facts, Token
from controller.reconcile.formerkey import FormerKey
from controller.reconcile.lanes import Lanes

log = logging.getLogger(__name__)

TOKEN, NEXT_TOKEN = "token", "next-token"
ASK_SECONDS = 5.0
T = TypeVar("T")


class Tokens:
    """Makes, reads and changes them."""

    def __init__(
        self,
        cluster: Cluster,
        runtime: Runtime,
        facts: Facts,
        lanes: Lanes,
        random: Random,
        former_key: FormerKey | None,
    ) -> None:
        self._cluster = cluster
        self._runtime = runtime
        self._facts = facts
        self._lanes = lanes
        self._random = random
        self._former_key = former_key

    async def for_launch(self, instance: AgentInstance, *, begun: bool) -> str:
        """The token with which it is launched; one whose launch has begun before never gets another."""
        facts = self._facts.instances[instance.metadata.uid]
        if facts.token is None:
            begun = begun or instance.status.launched_at is not None
            facts.token = await (self._read(instance) if begun else self._make(instance, self._new()))
        return facts.token.current

    async def of(self, instance: AgentInstance) -> Token:
        """What is known of it, read if need be; ``Missing`` says which Secret is gone."""
        facts = self._facts.instances[instance.metadata.uid]
        if facts.token is None:
            facts.token = await self._read(instance)
        return facts.token

    async def endpoint(self, instance: AgentInstance, url: str) -> Endpoint:
        """How to talk to the program inside an instance, as far as anybody knows."""
        return _endpoint(instance, url, (await self.of(instance)).candidates[0])

    async def ask(self, instance: AgentInstance, url: str, question: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Ask the program something; where nobody knows which of two tokens counts, its answer tells."""
        token = await self.of(instance)
        first, *others = token.candidates
        try:
            return await question(_endpoint(instance, url, first))
        except Refused as error:
            if error.reason != UNAUTHORIZED or not others:
                raise
        answer = await question(_endpoint(instance, url, others[0]))
        token.rotated = True
        return answer

    async def settle(self, instance: AgentInstance, url: str) -> None:
        """Have the Secret hold the token that counts, and no other."""
        token = await self.of(instance)
        if token.spare is None:
            return
        if token.rotated is None and not await self._found_out(instance, url, token):
            return
        name, counts = token_secret_name(instance), token.candidates[0]
        changed = {NEXT_TOKEN: None} | ({TOKEN: counts} if token.rotated else {})
        try:
            async with self._lanes.background():
                stored = await self._cluster.patch_secret(
                    instance.metadata.namespace, name, token_secret_patch(token.uid, token.version, changed)
                )
        except Missing:
            log.warning(
                "Secret %s/%s is gone: after the next start of the operator nothing opens its instance",
                *(instance.metadata.namespace, name),
            )
            token.current, token.spare = counts, None
        except Conflict:
            self._learn(token, await self._stored(instance))
            if token.spare is not None:
                raise
        else:
            self._learn(token, stored)

    async def _found_out(self, instance: AgentInstance, url: str, token: Token) -> bool:
        """Ask which of the two counts: whoever knew it has died. False when the program cannot be asked that."""

        async def question(endpoint: Endpoint) -> None:
            await self._runtime.conversation(endpoint, timeout=ASK_SECONDS)

        try:
            await self.ask(instance, url, question)
        except Refused as error:
            # Not its sentence, which may quote what the program was given.
            log.warning(
                "both tokens of instance %s/%s are kept: its program cannot be asked which one counts (%s)",
                *(*instance.key, error.reason),
            )
            token.undecided = True
            return False
        token.rotated = token.rotated or False
        return True

    async def _read(self, instance: AgentInstance) -> Token:
        try:
            return _token(instance, await self._stored(instance))
        except Missing:
            former = await self._former(instance)
            if former is None:
                raise
        return await self._make(instance, former)

    async def _former(self, instance: AgentInstance) -> str | None:
        """The token of one that an earlier version launched: that it opens the instance is the proof."""
        if self._former_key is None or instance.status.url is None:
            return None
        token = self._former_key.token(instance.metadata.uid)
        try:
            await self._runtime.conversation(_endpoint(instance, instance.status.url, token), timeout=ASK_SECONDS)
        except Refused as error:
            if error.reason == UNAUTHORIZED:
                return None
        return token

    async def _stored(self, instance: AgentInstance) -> StoredSecret:
        namespace, name = instance.metadata.namespace, token_secret_name(instance)
        try:
            return await self._cluster.read_secret(namespace, name)
        except Missing:
            raise Missing(
                f"Secret {name} in namespace {namespace} is gone, and with it the token that opens the instance: "
                "restore it from a backup, or delete the instance"
            ) from None

    async def _make(self, instance: AgentInstance, current: str) -> Token:
        """Store it; what a controller before this one has stored stands."""
        content = {TOKEN: current} | ({NEXT_TOKEN: self._new()} if _rotates(instance) else {})
        namespace = instance.metadata.namespace
        try:
            async with self._lanes.background():
                stored = await self._cluster.create_secret(namespace, token_secret(instance, content))
        except Conflict:
            stored = await self._stored(instance)
        except Refused as error:
            # Not the fault of what is to be launched: it is launched as soon as it is allowed.
            name = token_secret_name(instance)
            raise Transient(f"Secret {name} cannot be created in namespace {namespace}: {error}") from None
        return _token(instance, stored)

    def _learn(self, token: Token, stored: StoredSecret) -> None:
        token.uid, token.version = stored.uid, stored.version
        if NEXT_TOKEN not in stored.content:
            token.current, token.spare = stored.content.get(TOKEN, token.candidates[0]), None

    def _new(self) -> str:
        return f"{self._random.getrandbits(256):064x}"


def _rotates(instance: AgentInstance) -> bool:
    return instance.spec.template.protocol == "pool"


def _endpoint(instance: AgentInstance, url: str, token: str) -> Endpoint:
    return Endpoint(url=url, protocol=instance.spec.template.protocol, token=token)


def _token(instance: AgentInstance, stored: StoredSecret) -> Token:
    where = f"Secret {token_secret_name(instance)} in namespace {instance.metadata.namespace}"
    if stored.owner != instance.metadata.uid:
        raise Transient(f"{where} belongs to something else than this instance: delete it unless it goes by itself")
    if not stored.content.get(TOKEN):
        raise Missing(f"{where} has no key {TOKEN}: restore it from a backup, or delete the instance")
    return Token(stored.uid, stored.version, stored.content[TOKEN], stored.content.get(NEXT_TOKEN))
