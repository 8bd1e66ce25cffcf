"""A client of the convos contract: what the supervisor asks of its gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import orjson

from agent.errors import AgentError
from agent.provision_request import ProvisionRequest
from agent.settings import Network

STATUS_DEADLINE_SECONDS = 2.0
BIND_DEADLINE_SECONDS = 120.0


class GatewayAwayError(Exception):
    """The gateway is not running, not answering, or answers something else than the contract."""


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """What the gateway says exists: a conversation, a join that waits, or neither and clean."""

    ready: bool
    conversation_id: str | None
    invite_url: str | None
    pending: bool
    clean: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """What a create or a join led to; without a conversation the join waits for acceptance."""

    conversation_id: str | None
    invite_url: str | None


class PortOfGateway(Protocol):
    """Knows where the gateway listens now."""

    @property
    def port(self) -> int | None:
        """The port on 127.0.0.1; None while the gateway is away."""


class ConvosClient:
    """Calls /convos/* on the gateway with the token of the gateway."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        gateway: PortOfGateway,
        token: str,
        network: Network,
        *,
        readiness_path: str | None = None,
    ) -> None:
        self._session = session
        self._gateway = gateway
        self._headers = {"Authorization": f"Bearer {token}"}
        self._network = network
        self._readiness_path = readiness_path

    async def status(self) -> GatewayStatus:
        """Look at what exists, or raise GatewayAwayError; also while the gateway's own probe says it is not ready."""
        if self._readiness_path is not None:
            answer = await self._call("GET", self._readiness_path, None, STATUS_DEADLINE_SECONDS)
            if not says_ready(*answer):
                raise GatewayAwayError(f"the gateway's {self._readiness_path} does not say that it is ready")
        status = parse_status(*await self._call("GET", "/convos/status", None, STATUS_DEADLINE_SECONDS))
        if status is None:
            raise GatewayAwayError("the gateway's /convos/status does not answer in the shape of the contract")
        return status

    async def create(self, request: ProvisionRequest) -> Bound:
        """Create the conversation."""
        return created_in(*await self._bind("/convos/conversation", {"name": request.agent_name}, request))

    async def join(self, request: ProvisionRequest) -> Bound:
        """Join the conversation of the request's invite link."""
        return joined_in(*await self._bind("/convos/join", {"inviteUrl": request.join_url}, request))

    def _profile(self, request: ProvisionRequest) -> dict[str, Any]:
        optional = {"profileImage": request.profile_image, "metadata": request.metadata}
        return {
            "profileName": request.agent_name,
            "instructions": request.instructions,
            "env": self._network,
            **{key: value for key, value in optional.items() if value is not None},
        }

    async def _bind(self, path: str, payload: dict[str, Any], request: ProvisionRequest) -> tuple[int, str, bytes]:
        return await self._call("POST", path, {**payload, **self._profile(request)}, BIND_DEADLINE_SECONDS)

    async def _call(
        self, method: str, path: str, payload: dict[str, Any] | None, deadline: float
    ) -> tuple[int, str, bytes]:
        port = self._gateway.port
        if port is None:
            raise GatewayAwayError("the gateway is not running")
        headers = self._headers | ({"Content-Type": "application/json"} if payload is not None else {})
        try:
            async with self._session.request(
                method,
                f"http://127.0.0.1:{port}{path}",
                data=None if payload is None else orjson.dumps(payload),
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=deadline),
            ) as response:
                return response.status, response.content_type, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise GatewayAwayError(f"the gateway does not answer {path}: {type(error).__name__}") from error


def created_in(status: int, content_type: str, body: bytes) -> Bound:
    """What a create led to; AgentError with the gateway's own reason when it led to nothing."""
    value = _done(status, content_type, body, "/convos/conversation")
    conversation_id, invite_url = value.get("conversationId"), value.get("inviteUrl")
    if not isinstance(conversation_id, str) or not isinstance(invite_url, str | None):
        raise AgentError(500, "The gateway created a conversation but its answer does not name it.")
    return Bound(conversation_id=conversation_id, invite_url=invite_url)


def joined_in(status: int, content_type: str, body: bytes) -> Bound:
    """What a join led to; AgentError with the gateway's own reason when it led to nothing."""
    value = _done(status, content_type, body, "/convos/join")
    conversation_id, outcome = value.get("conversationId"), value.get("status")
    if outcome == "joined" and isinstance(conversation_id, str):
        return Bound(conversation_id=conversation_id, invite_url=None)
    if outcome in ("waiting_for_acceptance", "pending_acceptance"):
        return Bound(conversation_id=None, invite_url=None)
    raise AgentError(500, "The gateway answered the join with neither a conversation nor a wait for acceptance.")


def _done(status: int, content_type: str, body: bytes, path: str) -> dict[str, Any]:
    value = _json_object(content_type, body)
    if value is None:
        raise GatewayAwayError(f"the gateway answers {path} with {content_type or 'nothing'} instead of JSON")
    if status == 200:
        return value
    reason = value.get("error")
    sentence = reason if isinstance(reason, str) else f"The gateway answered {status} without a reason."
    raise AgentError(status if status in {400, 409} else 500, sentence)


def says_ready(status: int, content_type: str, body: bytes) -> bool:
    """Whether this is a readiness probe's yes: 200 and a JSON object that does not say otherwise."""
    value = _json_object(content_type, body)
    return status == 200 and value is not None and value.get("ready", True) is True


def parse_status(status: int, content_type: str, body: bytes) -> GatewayStatus | None:
    """Read either shape of /convos/status; None for anything else, such as the HTML page of an unknown path."""
    value = _json_object(content_type, body)
    if status != 200 or value is None:
        return None
    older = isinstance(value.get("ready"), bool) and "conversation" in value
    newer = isinstance(value.get("clean"), bool) and "conversationId" in value
    conversation = value.get("conversation")
    if not (older or newer) or not isinstance(conversation, dict | None):
        return None
    conversation_id = value.get("conversationId") or (conversation or {}).get("id")
    if not isinstance(conversation_id, str | None) or (conversation is not None and conversation_id is None):
        return None
    invite_url = (conversation or {}).get("inviteUrl")
    pending = bool(value.get("pending"))
    return GatewayStatus(
        ready=value.get("ready", True) is True,
        conversation_id=conversation_id,
        invite_url=invite_url if isinstance(invite_url, str) else None,
        pending=pending,
        clean=value["clean"] if newer else conversation_id is None and not pending,
    )


def _json_object(content_type: str, body: bytes) -> dict[str, Any] | None:
    if content_type != "application/json":
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
