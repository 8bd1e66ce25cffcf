"""The errors that cross a port, sorted by what the controller does about them."""


class AgentpoolError(Exception):
    """Anything that agentpool raises on purpose; its text is one sentence for a person."""


class Transient(AgentpoolError):
    """Likely to pass by itself: back off and try again.

    ``retry_after`` is the peer's own wish in seconds, where it had one.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unserved(Transient):
    """The peer does not know this kind of thing (yet), which says nothing of the thing itself."""


class Reversed(AgentpoolError):
    """The API server is at an earlier state than it has told of: what is known never happened, begin anew."""


class Conflict(AgentpoolError):
    """Somebody else changed the thing first: look again at once, then decide anew."""


class Missing(AgentpoolError):
    """The thing that was named does not exist (any more)."""


class Refused(AgentpoolError):
    """The peer will never accept this as it stands: say so in a condition and wait for a change.

    ``reason`` is a CamelCase word for a condition, the text a sentence with the remedy.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Barred(Refused):
    """A place takes no new orders at all as things stand, whatever they are: no permission, a plan that is used up.

    Not the order's fault: nothing is launched there until it is tried again after ``retry_after`` seconds.
    """

    def __init__(self, reason: str, message: str, retry_after: float) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class Misconfigured(AgentpoolError):
    """The program was started with settings that cannot work: print the sentence and exit."""


class Unusable(Misconfigured):
    """A setting that is other programs', too, cannot work here: it matters only to who wants what it is for."""
