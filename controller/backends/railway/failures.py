"""What goes wrong at Railway, sorted into what a controller does about it."""

import re
from collections.abc import Callable

from controller.errors import AgentpoolError, Barred, Conflict, Missing, Refused, Transient

LONGEST_MESSAGE = 300
AGAIN_SECONDS = 30.0
"""How soon what only a person can mend is tried again."""
CREATION_PAUSE_SECONDS = 30.0
"""How long creations rest that came too quickly, where nobody says how long."""
_FRAGMENT = 12
"""So many characters of a token in a row are a secret already."""
_SHORTEST_TOKEN = 8
"""A shorter one is no secret, and ordinary words would hold it."""


class Unanswered(Transient):
    """No certain answer: nothing, something, or all of what was asked may have happened."""


class Throttled(Transient):
    """Too much was asked; nothing was done. ``retry_after`` says when to come back, in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, retry_after)


class Rejected(AgentpoolError):
    """Railway answered with an error. What a mutation was to do may have happened all the same: look."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        path: tuple[str | int, ...] = (),
        trace_id: str = "",
        status: int = 200,
        partial: bool = False,
    ) -> None:
        """``message`` is Railway's own, as ``one_line`` makes it; ``partial``: some data came with the error."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.path = path
        self.trace_id = trace_id
        self.status = status
        self.partial = partial
        self.retry_after: float | None = None
        """Seconds until things of the kind may be created again."""

    @property
    def not_authorized(self) -> bool:
        """Whether the token was refused, or may not do this."""
        return self.status in {401, 403} or self.code in _OF_A_TOKEN or bool(_NOT_AUTHORIZED.search(self.message))

    @property
    def untouched(self) -> bool:
        """Whether, if the token was refused, it was so before anything was done."""
        return not self.partial and len(self.path) <= 1

    @property
    def too_quick(self) -> bool:
        """Whether things of the kind were made too quickly one after the other."""
        return self.code in _OF_A_LIMIT or bool(_TOO_QUICK.search(self.message))

    @property
    def wish(self) -> float | None:
        """The pause in seconds that a message names which says that it was too quick."""
        found = re.search(r"\b(?:per|every|in|after) (\d{1,4}) ?s(?:ec(?:ond)?s?)?\b", self.message, re.IGNORECASE)
        return float(found[1]) if found else None


def sort(rejected: Rejected, doing: str) -> AgentpoolError:
    """The error of a port for an answer; ``doing`` is what was tried, such as "create the service"."""
    said = f'"{rejected.message}"' + (f", trace {rejected.trace_id}" if rejected.trace_id else "")
    if rejected.not_authorized:
        return _barred_token(rejected, doing, said)
    if rejected.status == 400 or rejected.code in _OF_A_REQUEST:
        return Refused(
            "InvalidRequest",
            f"Railway does not understand how it is asked to {doing} ({said}): agentpool is wrong, please report it",
        )
    if rejected.too_quick:
        pause = CREATION_PAUSE_SECONDS if rejected.retry_after is None else rejected.retry_after
        return Throttled(f"Railway lets agentpool {doing} only after a while ({said})", pause)
    # Names are in quotation marks, and may hold any word.
    words = re.sub(r""""[^"]*"|'[^']*'""", '""', rejected.message)
    for pattern, make in _TABLE:
        if pattern.search(words):
            return make(doing, said)
    return Transient(f"Railway failed to {doing} ({said})")


def one_line(text: str, token: str = "") -> str:
    """What a vendor said, fit for a sentence: short, printable, and nothing of it if it repeats a part of the token."""
    line = "".join(character if character.isprintable() else " " for character in text[: 16 * LONGEST_MESSAGE])
    line = " ".join(line.split())
    width = min(_FRAGMENT, len(token))
    if width >= _SHORTEST_TOKEN and any(line[start : start + width] in token for start in range(len(line) - width + 1)):
        return "its words are left out because they repeat a part of the token"
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 1].rstrip()}…"


def _barred_token(rejected: Rejected, doing: str, said: str) -> Barred:
    if _TWO_FACTORS.search(rejected.message):
        remedy = "the workspace demands two-factor authentication: enable it for the account that owns the token"
    else:
        remedy = (
            "see that the Secret of tokenSecretRef holds a valid token, that tokenType says what kind it is, and that "
            "projectId and environmentId are those that it may use"
        )
    return Barred("NotAuthorized", f"Railway does not let this token {doing} ({said}): {remedy}", AGAIN_SECONDS)


_Make = Callable[[str, str], AgentpoolError]


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


def _barred(reason: str, remedy: str, seconds: float) -> _Make:
    return lambda doing, said: Barred(reason, f"Railway cannot {doing} ({said}): {remedy}", seconds)


def _refused(reason: str, remedy: str) -> _Make:
    return lambda doing, said: Refused(reason, f"Railway cannot {doing} ({said}): {remedy}")


_OF_A_TOKEN = frozenset({"UNAUTHENTICATED", "UNAUTHORIZED", "FORBIDDEN"})
_OF_A_REQUEST = frozenset({"GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT", "BAD_REQUEST"})
_OF_A_LIMIT = frozenset({"RATE_LIMITED", "RATELIMITED", "TOO_MANY_REQUESTS"})
_TWO_FACTORS = _any(r"\btwo.?factor\b")
_NOT_AUTHORIZED = _any(
    r"^(you are )?(not authorized|unauthori[sz]ed|not authenticated|unauthenticated)\b",
    r"\btoken (was )?not found\b",
    r"\b(invalid|expired|revoked) (\w+ )?token\b",
    r"\bdo(es)? not have (access|permission)\b(?!.*\brepo)",
    _TWO_FACTORS.pattern,
)
_TOO_QUICK = _any(r"\btoo quickly\b", r"\btoo (many|frequent) requests\b", r"\brate.?limit")
_ID = r"""( with id)?:?( ["']?(?=[\w-]*["'\d])[\w-]*["']?)?"""
_GONE = r"(was )?(not found|does not exist|no longer exists|(is|was|has been) deleted)"

_ENVIRONMENT_GONE = _any(rf"^(the )?(project|environment){_ID} {_GONE}", r"\benvironment is restricted\b")
_CREDENTIALS = _any(r"\bregistry credentials?\b", r"\bprivate (docker )?(image|registry|registries)\b")
_REGION = _any(r"\bregion\b.*\b(not found|invalid|unavailable|not available|does not exist)", r"\binvalid region\b")
_SOURCE = _any(
    r"\b(image|repo|repository|branch|commit)\b.*\b(not found|invalid|unavailable|does not exist|inaccessible)\b",
    r"\binvalid (docker |container )?(image|repo|repository|branch|source)\b",
    r"\b(no|not have) access to\b.*\brepo",
    r"\bgithub\b.*\b(access|install|connect|permission)",
)
_LIMIT = _any(
    r"\blimits?\b.*\b(reached|exceeded)\b",
    r"\b(reach|exceed)(s|ed|ing)?\b.*\b(limit|maximum|quota)",
    r"\b(quota|upgrade|trial|billing|subscription)\b",
    r"\bmaximum (number|amount) of\b",
    r"\b(free|hobby) plan\b",
    r"\bout of credits?\b",
    r"\bcannot (create|have) more\b",
)
_SOON = _any(r"\bserviceinstance not found\b", r"\bfailed to create service domain\b", r"\bcannot redeploy yet\b")
_TAKEN = _any(r"\balready (exists|taken|used|in use|attached)\b", r"\balready has an?\b", r"\bmust be unique\b")
_THING_GONE = _any(rf"\b(service|volume|volume ?instance|deployment|domain){_ID} {_GONE}")

_TABLE: tuple[tuple[re.Pattern[str], _Make], ...] = (
    (
        _ENVIRONMENT_GONE,
        _barred(
            "EnvironmentNotFound", "correct projectId and environmentId, or make the environment anew", AGAIN_SECONDS
        ),
    ),
    (
        _CREDENTIALS,
        _refused("RegistryCredentialsRefused", "correct imagePullSecret, or have a plan that allows private images"),
    ),
    (_REGION, _refused("RegionNotUsable", "correct region in the pool's backend")),
    (
        _SOURCE,
        _refused(
            "SourceNotUsable", "correct image or git in the template, and let Railway's GitHub app see the source"
        ),
    ),
    (
        _LIMIT,
        _barred("PlanLimitReached", "lower maxTotal, free what is not used, or change to a bigger plan", 300.0),
    ),
    (_SOON, lambda doing, said: Transient(f"Railway cannot {doing} yet ({said})")),
    (_TAKEN, lambda doing, said: Conflict(f"Railway cannot {doing}, as there is one already ({said})")),
    (_THING_GONE, lambda doing, said: Missing(f"Railway cannot {doing}, as it is gone ({said})")),
)
"""What Railway says, and what that is; the first that fits counts."""
