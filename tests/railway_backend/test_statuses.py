"""What the words of Railway mean for an instance."""

from datetime import UTC, datetime

import pytest

from controller.backends.railway.statuses import standing_of
from controller.ports import RemoteState

WHEN = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("INITIALIZING", RemoteState.BUILDING),
        ("QUEUED", RemoteState.BUILDING),
        ("WAITING", RemoteState.BUILDING),
        ("BUILDING", RemoteState.BUILDING),
        ("NEEDS_APPROVAL", RemoteState.BUILDING),
        ("DEPLOYING", RemoteState.DEPLOYING),
        ("SUCCESS", RemoteState.RUNNING),
        ("SLEEPING", RemoteState.SLEEPING),
        ("CRASHED", RemoteState.EXITED),
        ("FAILED", RemoteState.EXITED),
        ("REMOVED", RemoteState.EXITED),
        ("REMOVING", RemoteState.EXITED),
        ("SKIPPED", RemoteState.EXITED),
        ("TELEPORTING", RemoteState.UNKNOWN),
        ("", RemoteState.UNKNOWN),
    ],
)
def test_every_status_has_a_meaning_and_an_unknown_one_is_unknown(status: str, state: RemoteState) -> None:
    standing = standing_of(status, stopped=False, since=WHEN)

    assert standing.state is state
    assert standing.since == WHEN
    assert standing.message or state not in {RemoteState.EXITED, RemoteState.UNKNOWN}


def test_a_deployment_that_succeeded_and_stopped_has_ended() -> None:
    assert standing_of("SUCCESS", stopped=True, since=None).state is RemoteState.EXITED
