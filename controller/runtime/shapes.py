"""The shapes that runtimes answer in, read strictly: whatever does not fit is not an answer."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


def _one_word(text: str) -> str:
    if not text.isprintable() or " " in text:
        raise ValueError
    return text


def _link(text: str) -> str:
    # It is shown as a link to people, who must not run a script by following it.
    if text and not text.lower().startswith(("https://", "http://")):
        raise ValueError
    return _one_word(text)


ConversationId = Annotated[str, Field(max_length=512), AfterValidator(_one_word)]
InviteUrl = Annotated[str, Field(max_length=8192), AfterValidator(_link)]


class Shape(BaseModel):
    """What all answers have in common; fields that are not known yet are no reason to refuse one."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", alias_generator=to_camel)


class PoolHealth(Shape):
    """``GET /pool/health``."""

    ready: bool


class PoolProvisioned(Shape):
    """``POST /pool/provision``."""

    ok: Literal[True]
    joined: bool
    invite_url: InviteUrl | None = None
    conversation_id: ConversationId | None = None
    status: str | None = None
    token_rotated: bool = False


class ConvosCreated(Shape):
    """``POST /convos/conversation``."""

    conversation_id: ConversationId | None = None
    invite_url: InviteUrl | None = None


class ConvosJoined(Shape):
    """``POST /convos/join``."""

    status: Literal["joined", "waiting_for_acceptance", "pending_acceptance"]
    conversation_id: ConversationId | None = None


class Conversation(Shape):
    """The conversation inside the older status."""

    id: Annotated[ConversationId, Field(min_length=1)]


class OlderStatus(Shape):
    """``GET /convos/status`` of the older plugin."""

    ready: bool
    conversation: Conversation | None
    streaming: bool


class NewerStatus(Shape):
    """``GET /convos/status`` of the newer plugin."""

    conversation_id: ConversationId | None
    pending: bool
    clean: bool
    ready: bool = True


class NobodyThere(Shape):
    """What Railway's edge says itself where nothing runs: for what is deleted, and while it wakes a sleeper."""

    status: Literal["error"]
    code: Literal[404]
    message: Literal["Application not found"]


class Failure(Shape):
    """Any error."""

    error: str


AnyShape = TypeVar("AnyShape", bound=Shape)


def read(shape: type[AnyShape], body: bytes) -> AnyShape | None:
    """The body in this shape; None when it is not JSON, or JSON of another shape."""
    try:
        return shape.model_validate_json(body)
    except ValidationError:
        return None
