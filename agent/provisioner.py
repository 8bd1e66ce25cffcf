"""Provisioning: once per instance, whatever is repeated, at once or after a kill."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agent.convos import ConvosClient, GatewayAwayError
from agent.errors import AgentError
from agent.instructions import InstructionFiles
from agent.invite_link import abridged
from agent.log import Log
from agent.provision_record import Answer, ProvisionRecord, ProvisionStore
from agent.provision_request import ProvisionRequest
from agent.token import InstanceToken

TAKEN = "This instance is already provisioned for another claim: use a fresh instance."
NOT_CLEAN = "This instance is bound or was left dirty by something else: destroy it and use a fresh one."
DIRTY = "The conversation could not be created and left this instance dirty: destroy it and use a fresh one."


@dataclass(frozen=True, slots=True)
class _Flight:
    key: str | None
    task: asyncio.Task[Answer]


class Provisioner:
    """Owns the record: the first request decides the key, and only that key is ever answered again.

    A request runs as a task of its own, so a caller who hangs up neither cancels it nor makes it run
    twice: a repeat of the key joins the task in flight.
    """

    def __init__(
        self,
        launch_token: str,
        convos: ConvosClient,
        store: ProvisionStore,
        instructions: InstructionFiles,
        log: Log,
    ) -> None:
        self._convos = convos
        self._store = store
        self._instructions = instructions
        self._log = log
        self._record = store.load()
        self._flight: _Flight | None = None
        self.token = InstanceToken(launch_token, self._record.token if self._record is not None else None)

    @property
    def touched(self) -> bool:
        """Whether a provision request ever got as far as its intent."""
        return self._record is not None

    @property
    def rotated(self) -> bool:
        """Whether a token that a provision request brought has taken the place of the one of the launch."""
        return self._record is not None and self._record.token is not None

    async def provision(self, key: str | None, request: ProvisionRequest, next_token: str | None) -> Answer:
        """Answer what was answered before under this key, or do it; AgentError otherwise.

        The token that comes with the first request is kept with its intent, and counts from then on.
        """
        # No await between these checks and the creation of the task: that is the single flight.
        flight = self._flight
        if flight is None or flight.task.done():
            self._refuse_unless(self._record is None or (key is not None and key == self._record.key))
            flight = self._flight = _Flight(key, asyncio.create_task(self._resolve(key, request, next_token)))
        else:
            self._refuse_unless(key is not None and key == flight.key)
        return await asyncio.shield(flight.task)

    async def settle(self, seconds: float) -> None:
        """Give a request in flight this long to end before the gateway is taken down."""
        if self._flight is not None:
            await asyncio.wait({self._flight.task}, timeout=seconds)

    def _refuse_unless(self, same_claim: bool) -> None:
        if not same_claim:
            raise AgentError(409, TAKEN)

    async def _resolve(self, key: str | None, request: ProvisionRequest, next_token: str | None) -> Answer:
        record = self._record
        if record is not None and record.answer is not None and record.answer.status != "pending_acceptance":
            return record.answer
        try:
            answer = await self._look_or_do(key, request, next_token)
        except GatewayAwayError as error:
            self._log.warning("a provision request must be repeated", reason=error)
            raise AgentError(503, "The gateway is not ready: repeat the request with the same key.") from error
        except OSError as error:
            self._log.error("the state directory cannot be written", cause=error)
            raise AgentError(500, "The state directory cannot be written; the instance's log says why.") from error
        if record is None or record.answer != answer:
            await self._save(
                ProvisionRecord(key=key, answer=answer, token=self._record.token if self._record else None)
            )
            self._log.info(
                "provisioned",
                status=answer.status,
                conversation=answer.conversation_id,
                invite=abridged(answer.invite_url or request.join_url),
            )
        return answer

    async def _look_or_do(self, key: str | None, request: ProvisionRequest, next_token: str | None) -> Answer:
        """After a kill nobody remembers how far the first attempt came: look at what exists before doing it."""
        there = await self._convos.status()
        if not there.ready:
            raise GatewayAwayError("the gateway says it is not ready")
        untouched = there.clean and there.conversation_id is None and not there.pending
        if self._record is None:
            if not untouched:
                raise AgentError(409, NOT_CLEAN)
            await self._save(ProvisionRecord(key=key, token=next_token))
        if there.conversation_id is not None:
            self._log.info("found the conversation of an earlier attempt", conversation=there.conversation_id)
            return _answer(request, there.conversation_id, there.invite_url)
        if there.pending:
            return _answer(request, None, None)
        if not untouched:
            # Like a foreign claim: repeating it never helps, another instance does.
            raise AgentError(409, DIRTY)
        return await self._do(request)

    async def _do(self, request: ProvisionRequest) -> Answer:
        await asyncio.to_thread(self._instructions.write, request.instructions)
        bind = self._convos.create if request.join_url is None else self._convos.join
        try:
            bound = await bind(request)
        except AgentError as error:
            self._log.error("the gateway refused to bind a conversation", status=error.status, reason=error)
            raise
        return _answer(request, bound.conversation_id, bound.invite_url)

    async def _save(self, record: ProvisionRecord) -> None:
        await asyncio.to_thread(self._store.save, record)
        self._record = record
        if record.token is not None:
            self.token.take_up(record.token)


def _answer(request: ProvisionRequest, conversation_id: str | None, invite_url: str | None) -> Answer:
    if conversation_id is None:
        return Answer(invite_url=None, conversation_id=None, status="pending_acceptance")
    if request.join_url is not None:
        return Answer(invite_url=None, conversation_id=conversation_id, status="joined")
    return Answer(invite_url=invite_url, conversation_id=conversation_id, status="created")
