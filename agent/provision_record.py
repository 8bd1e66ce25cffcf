"""What this instance was asked to become, kept so that a kill at any moment loses nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from agent.durable import write_durably

Outcome = Literal["created", "joined", "pending_acceptance"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a provision request."""

    invite_url: str | None
    conversation_id: str | None
    status: Outcome

    def body(self, *, token_rotated: bool) -> dict[str, Any]:
        """The answer as the contract writes it; whether the token that the request brought counts from now on."""
        return {
            "ok": True,
            "inviteUrl": self.invite_url,
            "conversationId": self.conversation_id,
            "joined": self.status == "joined",
            "status": self.status,
            **({"tokenRotated": True} if token_rotated else {}),
        }


@dataclass(frozen=True, slots=True)
class ProvisionRecord:
    """The intent, written before the gateway is touched, and the answer once there is one."""

    key: str | None
    answer: Answer | None = None
    token: str | None = field(default=None, repr=False)
    """The bearer token that the request brought, which counts from then on; None: the one of the launch does."""


def _answer(value: dict[str, Any]) -> Answer:
    answer = Answer(**value)
    if answer.status not in get_args(Outcome) or not all(
        isinstance(text, str | None) for text in (answer.invite_url, answer.conversation_id)
    ):
        raise TypeError("the answer is of another shape than this release writes")
    return answer


class UnreadableRecordError(Exception):
    """The record on disk cannot be read, so nobody knows whether this instance was provisioned."""


class ProvisionStore:
    """Keeps the record in one file under the state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "provision.json"

    def load(self) -> ProvisionRecord | None:
        """Read the record; None when this instance was never provisioned."""
        try:
            value = orjson.loads(self._path.read_bytes())
            key, answer, token = value["key"], value["answer"], value.get("token")
            if not (isinstance(key, str | None) and isinstance(token, str | None)):
                raise TypeError("the key or the token is no text")
            return ProvisionRecord(key=key, answer=None if answer is None else _answer(answer), token=token)
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise UnreadableRecordError(f"{self._path} cannot be read: {error}") from error

    def save(self, record: ProvisionRecord) -> None:
        """Replace the record durably."""
        write_durably(self._path, orjson.dumps(asdict(record)))
