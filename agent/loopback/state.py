"""The loopback service's files: what is bound, and the messages."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from agent.durable import write_durably
from agent.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Conversation:
    """The one conversation; without an invite slug it was joined, not created."""

    id: str
    name: str
    profile_name: str
    invite_slug: str | None = None
    locked: bool = False
    profile_image: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Everything but the messages. It is clean only while nothing was ever written into it."""

    inbox_id: str | None = None
    conversation: Conversation | None = None
    waiting: Conversation | None = None
    exploded: bool = False

    @property
    def clean(self) -> bool:
        """Whether no create or join, successful or not, ever touched it."""
        return self == State()


class StateFiles:
    """Keeps state and messages under <state dir>/loopback, and knows the agent's workspace beside it."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "loopback"
        self._state = self._directory / "state.json"
        self._key = self._directory / "identity.key"
        self._messages = self._directory / "messages.jsonl"
        self._workspace = state_dir / "workspace"

    def load(self) -> State:
        """Read the state; a fresh one when there is none. SettingsError when it is damaged."""
        try:
            value = orjson.loads(self._state.read_bytes())
        except FileNotFoundError:
            # A key without a state is what a create leaves that was killed between the two.
            return State(inbox_id="unknown") if self._key.exists() else State()
        except orjson.JSONDecodeError:
            value = None
        try:
            for part in ("conversation", "waiting"):
                value[part] = Conversation(**value[part]) if value[part] is not None else None
            return State(**value)
        except (KeyError, TypeError):
            raise SettingsError(
                f"{self._state} is damaged, so nobody knows what this account is bound to: start a fresh instance."
            ) from None

    def save(self, state: State) -> None:
        """Replace the state durably."""
        write_durably(self._state, orjson.dumps(asdict(state)))

    def save_key(self, key: bytes) -> None:
        """Write the identity's private key."""
        write_durably(self._key, key.hex().encode())

    def append(self, message: dict[str, Any]) -> None:
        """Add one message: one line, written at once."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._messages.open("ab", buffering=0) as file:
            file.write(orjson.dumps(message) + b"\n")

    def messages(self) -> list[dict[str, Any]]:
        """Every whole message, oldest first; a last line torn by a kill is left out, and so is what is damaged."""
        try:
            lines = self._messages.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [message for line in lines[:-1] if (message := _message(line)) is not None]

    def mend_messages(self) -> None:
        """Cut off a torn last line, so that the next message starts on a line of its own."""
        try:
            with self._messages.open("r+b") as file:
                content = file.read()
                file.truncate(content.rfind(b"\n") + 1)
        except FileNotFoundError:
            return

    def destroy(self) -> None:
        """Remove identity, messages and the agent's workspace, and remember only that it exploded."""
        self.save(State(exploded=True))
        self._key.unlink(missing_ok=True)
        self._messages.unlink(missing_ok=True)
        shutil.rmtree(self._workspace, ignore_errors=True)


def _message(line: bytes) -> dict[str, Any] | None:
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) else None
