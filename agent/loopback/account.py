"""The one account of a loopback service: it takes one conversation in its life, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from agent.errors import AgentError
from agent.loopback.faults import Faults
from agent.loopback.invites import invite_url, issue_slug, read_invite
from agent.loopback.state import Conversation, State, StateFiles
from agent.settings import Network

BOUND = "This process is already bound to a conversation: start a fresh one."
WAITING = "This process already waits for a join to be accepted: start a fresh one."
DIRTY = "This process is not clean: an earlier conversation failed or was destroyed; start a fresh one."
UNBOUND = "This process is bound to no conversation."


@dataclass(frozen=True, slots=True)
class Profile:
    """How the agent appears."""

    name: str
    image: str | None = None
    metadata: dict[str, Any] | None = None


class Account:
    """Owns the state; every change is on disk before it is answered. Time and randomness come from outside."""

    def __init__(
        self,
        files: StateFiles,
        network: Network,
        faults: Faults,
        *,
        now: Callable[[], float],
        randomness: Callable[[int], bytes],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._files = files
        self._network = network
        self._faults = faults
        self._now = now
        self._randomness = randomness
        self._sleep = sleep
        files.mend_messages()
        self._state = files.load()
        self._binding = asyncio.Lock()
        self._listeners: set[asyncio.Queue[dict[str, Any] | None]] = set()

    def status(self) -> dict[str, Any]:
        """The status in both shapes of the contract at once, and the invite link of a created conversation."""
        conversation = self._state.conversation
        return {
            "ready": True,
            "conversation": None
            if conversation is None
            else {"id": conversation.id, "inviteUrl": self._url(conversation)},
            "streaming": conversation is not None,
            "conversationId": None if conversation is None else conversation.id,
            "inboxId": self._state.inbox_id,
            "pending": self._state.waiting is not None,
            "clean": self._state.clean,
        }

    async def create(self, name: str, profile: Profile) -> dict[str, Any]:
        """Create the conversation and its invite."""
        async with self._binding:
            state = await self._identify()
            conversation_id = self._randomness(16).hex()
            slug = issue_slug(conversation_id, self._randomness(4), self._network)
            conversation = _conversation(conversation_id, name, profile, slug)
            self._save(replace(state, conversation=conversation))
            await self._sleep(self._faults.answer_seconds)
            return {"conversationId": conversation_id, "inviteUrl": self._url(conversation), "inviteSlug": slug}

    async def join(self, link: str, profile: Profile) -> dict[str, Any]:
        """Join the conversation of an invite, or ask its owner to accept."""
        invite = read_invite(link, self._network)
        async with self._binding:
            state = await self._identify()
            conversation = _conversation(invite.conversation_id, profile.name, profile, None)
            if invite.must_wait:
                self._save(replace(state, waiting=conversation))
                await self._sleep(self._faults.answer_seconds)
                return {"status": "waiting_for_acceptance"}
            self._save(replace(state, conversation=conversation))
            await self._sleep(self._faults.answer_seconds)
            return {"status": "joined", "conversationId": conversation.id}

    def accept(self) -> dict[str, Any]:
        """Play the owner who accepts the join that waits."""
        waiting = self._state.waiting
        if waiting is None:
            raise AgentError(409, "No join waits to be accepted.")
        self._save(replace(self._state, conversation=waiting, waiting=None))
        return {"status": "joined", "conversationId": waiting.id}

    def rename(self, name: str) -> dict[str, Any]:
        """Rename the conversation."""
        self._save(replace(self._state, conversation=replace(self._conversation(), name=name)))
        return {"ok": True, "name": name}

    def lock(self, *, unlock: bool) -> dict[str, Any]:
        """Lock or unlock; locking rotates the invite, so that status shows another link from then on."""
        conversation = self._conversation()
        if not unlock and conversation.invite_slug is not None:
            slug = issue_slug(conversation.id, self._randomness(4), self._network)
            conversation = replace(conversation, invite_slug=slug)
        self._save(replace(self._state, conversation=replace(conversation, locked=not unlock)))
        return {"ok": True, "locked": not unlock}

    def send(self, text: str, *, sender: str = "agent") -> dict[str, Any]:
        """Put a message into the conversation."""
        self._conversation()
        message = {"id": self._randomness(16).hex(), "from": sender, "message": text, "sentAt": self._now()}
        self._files.append(message)
        for listener in self._listeners:
            listener.put_nowait(message)
        return {"ok": True, "messageId": message["id"]}

    def messages(self) -> list[dict[str, Any]]:
        """The messages so far, oldest first."""
        self._conversation()
        return self._files.messages()

    def listen(self) -> asyncio.Queue[dict[str, Any] | None]:
        """Every message from now on; None when the conversation is destroyed. Give it back to unlisten()."""
        self._conversation()
        listener: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._listeners.add(listener)
        return listener

    def unlisten(self, listener: asyncio.Queue[dict[str, Any] | None]) -> None:
        """Stop listening."""
        self._listeners.discard(listener)

    def explode(self) -> dict[str, Any]:
        """Destroy the conversation and its files; the account is never clean again."""
        self._conversation()
        self._files.destroy()
        self._state = self._files.load()
        for listener in self._listeners:
            listener.put_nowait(None)
        return {"ok": True, "exploded": True}

    async def _identify(self) -> State:
        """Make the identity that a create or join begins with; from here on the account is not clean."""
        if self._state.conversation is not None:
            raise AgentError(409, BOUND)
        if self._state.waiting is not None:
            raise AgentError(409, WAITING)
        if not self._state.clean:
            raise AgentError(409, DIRTY)
        await self._sleep(self._faults.create_seconds)
        self._files.save_key(self._randomness(32))
        state = State(inbox_id=self._randomness(32).hex())
        self._save(state)
        if self._faults.fail_create:
            raise AgentError(500, "The conversation could not be created.")
        return state

    def _save(self, state: State) -> None:
        self._files.save(state)
        self._state = state

    def _conversation(self) -> Conversation:
        if self._state.conversation is None:
            raise AgentError(409, UNBOUND)
        return self._state.conversation

    def _url(self, conversation: Conversation) -> str | None:
        slug = conversation.invite_slug
        return None if slug is None else invite_url(slug, self._network)


def _conversation(conversation_id: str, name: str, profile: Profile, slug: str | None) -> Conversation:
    return Conversation(
        id=conversation_id,
        name=name,
        profile_name=profile.name,
        invite_slug=slug,
        profile_image=profile.image,
        metadata=profile.metadata,
    )
