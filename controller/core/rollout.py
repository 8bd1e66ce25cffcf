"""How many to launch and which to let go, so that the pool has its size and is built from the current template."""

from collections.abc import Sequence
from dataclasses import dataclass

from controller.core.members import Member, newest_first
from controller.model.pool import Rollout


@dataclass(frozen=True, slots=True)
class Warm:
    """The unclaimed instances of a pool."""

    outdated_starting: Sequence[Member]
    outdated_idle: Sequence[Member]
    current_starting: Sequence[Member]
    current_idle: Sequence[Member]


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do now."""

    launches: int
    outdated: Sequence[Member] = ()
    surplus: Sequence[Member] = ()
    blocked: str | None = None


def roll_out(rollout: Rollout, warm: Warm, wanted: int, min_idle: int, room: int) -> Steps:
    """``wanted`` counts warm instances including those for claims that wait; ``room`` is what maxTotal leaves."""
    if rollout.strategy == "OnDelete" or not (warm.outdated_idle or warm.outdated_starting):
        return _resize(warm, wanted, room)
    return _replace_outdated(rollout, warm, wanted, min_idle, room)


def _resize(warm: Warm, wanted: int, room: int) -> Steps:
    """Starting ones go first, since nothing is lost with them; then outdated, then idle ones."""
    groups = (warm.outdated_starting, warm.current_starting, warm.outdated_idle, warm.current_idle)
    missing = wanted - sum(len(group) for group in groups)
    if missing >= 0:
        return Steps(launches=max(0, min(missing, room)))
    order = [member for group in groups for member in newest_first(group)]
    return Steps(launches=0, surplus=order[:-missing])


def _replace_outdated(rollout: Rollout, warm: Warm, wanted: int, min_idle: int, room: int) -> Steps:
    current = len(warm.current_starting) + len(warm.current_idle)
    idle = len(warm.current_idle) + len(warm.outdated_idle)
    # An outdated one that is still starting serves nobody: it goes at once, as if it had never been begun.
    removable = max(0, idle - (min_idle - rollout.max_unavailable))
    surplus_idle = newest_first(warm.outdated_idle)[:removable]
    outdated = (*warm.outdated_starting, *surplus_idle)
    ceiling = max(wanted, min_idle + rollout.max_surge)
    missing = min(wanted - current, ceiling - current - (len(warm.outdated_idle) - len(surplus_idle)))
    # Those that go still count until they are gone, so the room that they leave is used by a later pass.
    launches = max(0, min(missing, room))
    blocked = None
    if missing > 0 and launches == 0 and not outdated:
        blocked = (
            "the rollout cannot go on: maxTotal leaves no room for a new instance and maxUnavailable none for a "
            "missing one; raise maxTotal or set rollout.maxUnavailable"
        )
    surplus = [*newest_first(warm.current_starting), *newest_first(warm.current_idle)][: max(0, current - wanted)]
    return Steps(launches=launches, outdated=outdated, surplus=surplus, blocked=blocked)
