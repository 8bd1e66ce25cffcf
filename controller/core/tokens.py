"""What the token of an instance needs: to be known before a claim waits for it, and to be the only one after that."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from controller.core.instancestatus import InstancePlan, ref_of
from controller.core.plan import LearnToken, SettleToken, soonest
from controller.core.stages import Stage
from controller.model import InstancePhase

if TYPE_CHECKING:
    from controller.core.instance import ObservedInstance


@dataclass(frozen=True, slots=True)
class TokenFact:
    """What is known of the token of an instance; never the token itself."""

    known: bool = False
    """It was made or read by this controller."""
    unsettled: bool = False
    """Its Secret still holds the one that is to follow."""
    rotated: bool | None = None
    """Whether the runtime took up the following one; ``None``: nobody knows."""
    failed_at: datetime | None = None
    """When the last try to learn or settle it failed."""


SETTLED = TokenFact(known=True)
"""Nothing needs to be done about it."""


def kept(seen: "ObservedInstance", plan: InstancePlan, now: datetime) -> InstancePlan:
    """The plan with what its token needs, where nothing else is to be done: none of this is urgent."""
    action = None if plan.actions else _learn(seen) or _settle(seen)
    if action is None:
        return plan
    failed = seen.token.failed_at
    wait = seen.timing.check_seconds - (now - failed).total_seconds() if failed is not None else 0.0
    if wait > 0:
        return replace(plan, look_again_in=soonest(plan.look_again_in, wait))
    return replace(plan, actions=(action,))


def _learn(seen: "ObservedInstance") -> LearnToken | None:
    """After a restart it is read before a claim has to wait for it."""
    status = seen.instance.status
    starting = status.phase in {None, InstancePhase.STARTING}
    launched = status.ready_at is not None or (starting and seen.remote is not None)
    return LearnToken(ref_of(seen)) if launched and not seen.token.known else None


def _settle(seen: "ObservedInstance") -> SettleToken | None:
    """Once a claim has what it waits for, the Secret says which token counts, and only that."""
    if not seen.token.unsettled or seen.claim is None or not seen.claim.provisioned:
        return None
    remote = seen.remote
    url = remote.url if remote is not None else seen.instance.status.url
    asleep = remote is None or remote.paused or remote.stage is Stage.SLEEPING
    answers = seen.instance.status.phase is InstancePhase.CLAIMED and not asleep
    if url is None or (seen.token.rotated is None and not answers):
        return None  # it would have to be asked
    return SettleToken(ref_of(seen), url)
