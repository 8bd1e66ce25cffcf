"""What Railway says of a deployment, as a state of a remote: a pure function."""

from dataclasses import dataclass
from datetime import datetime

from controller.ports import RemoteState

_BUILDING = {
    "INITIALIZING": "",
    "QUEUED": "its build waits for its turn at Railway",
    "WAITING": "it waits at Railway for something else to be ready",
    "BUILDING": "",
    "NEEDS_APPROVAL": "its deployment waits for somebody's approval: give it on the service's page at Railway",
}
_ENDED = {
    "CRASHED": "its program crashed; 'agentpool logs' shows what it wrote",
    "FAILED": "its build or deployment failed; 'agentpool logs' and the service's page at Railway say why",
    "REMOVED": "its deployment was removed at Railway",
    "REMOVING": "its deployment is being removed at Railway",
    "SKIPPED": "Railway skipped its deployment; the service's page at Railway says why",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a service stands."""

    state: RemoteState
    message: str = ""
    since: datetime | None = None


def standing_of(status: str, *, stopped: bool, since: datetime | None) -> Standing:
    """The state that a deployment's status means. One that is not known yet is unknown, never dead."""
    if status in _BUILDING:
        return Standing(RemoteState.BUILDING, _BUILDING[status], since)
    if status == "DEPLOYING":
        return Standing(RemoteState.DEPLOYING, "", since)
    if status == "SUCCESS":
        if stopped:
            return Standing(RemoteState.EXITED, "its program ended by itself, without an error", since)
        return Standing(RemoteState.RUNNING, "", since)
    if status == "SLEEPING":
        return Standing(RemoteState.SLEEPING, "", since)
    if status in _ENDED:
        return Standing(RemoteState.EXITED, _ENDED[status], since)
    unknown = f"Railway calls its deployment {status}, which this release does not know"
    return Standing(RemoteState.UNKNOWN, unknown, since)
