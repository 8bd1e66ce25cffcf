"""The status of an instance: its phase, whether it is ready, and whether somebody changed it behind our back."""

from datetime import datetime
from typing import TYPE_CHECKING

from controller.core.conditions import assert_condition
from controller.core.plan import InstanceAction, Note, Plan, Ref
from controller.core.stages import Stage
from controller.model import Condition, InstancePhase, InstanceStatus, condition_of

if TYPE_CHECKING:
    from controller.core.instance import ObservedInstance

InstancePlan = Plan[InstanceAction, InstanceStatus]

DRIFTED = "Drifted"
"""The condition that somebody changed the remote at its backend; absent until that happens for the first time."""


def ref_of(seen: "ObservedInstance") -> Ref:
    """The instance that is decided on."""
    meta = seen.instance.metadata
    return Ref(meta.namespace, meta.name, meta.uid)


def instance_status(
    seen: "ObservedInstance", phase: InstancePhase, ready: bool, reason: str, message: str, now: datetime
) -> InstanceStatus:
    """The whole status of the instance."""
    old = seen.instance.status
    condition = assert_condition(old.conditions, "Ready", ready, reason, message, now)
    drifted = _drifted(seen, phase, now)
    conditions = (condition,) if drifted is None else (condition, drifted)
    update: dict[str, object] = {"phase": phase, "message": message or None, "conditions": conditions}
    if seen.remote is not None:
        update |= {
            "url": seen.remote.url or old.url,
            "backend_id": seen.remote.backend_id,
            "launched_at": old.launched_at or now,
        }
    return old.model_copy(update=update)


def crash(seen: "ObservedInstance", reason: str, message: str, now: datetime) -> InstancePlan:
    """It is beyond use, for as long as it does not answer again."""
    status = instance_status(seen, InstancePhase.CRASHED, False, reason, message, now)
    notes = (Note("Warning", reason, message),) if seen.instance.status.phase is not InstancePhase.CRASHED else ()
    return Plan(status=status, notes=notes)


def told_of_drift(seen: "ObservedInstance", plan: InstancePlan) -> InstancePlan:
    """The plan with an Event, where its status is the first to say that the remote was changed."""
    before = condition_of(seen.instance.status.conditions, DRIFTED)
    after = condition_of(plan.status.conditions, DRIFTED) if plan.status is not None else None
    if after is None or after.status != "True" or (before is not None and before.status == "True"):
        return plan
    return Plan(plan.actions, plan.status, (*plan.notes, Note("Warning", DRIFTED, after.message)), plan.look_again_in)


def _drifted(seen: "ObservedInstance", phase: InstancePhase, now: datetime) -> Condition | None:
    before, remote = condition_of(seen.instance.status.conditions, DRIFTED), seen.remote
    # While it is begun or ended it is not yet, or no more, what it was made as, and that is nobody's doing.
    unsettled = phase in {InstancePhase.STARTING, InstancePhase.TERMINATING}
    if unsettled or remote is None or (remote.stage is Stage.UNKNOWN and not remote.drift):
        return before
    conditions = seen.instance.status.conditions
    if remote.drift:
        return assert_condition(conditions, DRIFTED, True, DRIFTED, _consequence(seen, remote.drift), now)
    if before is None or before.status != "True":
        return before
    return assert_condition(conditions, DRIFTED, False, "Restored", "it is again what it was made as", now)


def _consequence(seen: "ObservedInstance", drift: str) -> str:
    if seen.instance.spec.claim_ref is not None:
        return f"{drift}; it belongs to a claim, so it is left as it is"
    if seen.replaced_on_delete:
        return f"{drift}; it is left until it is claimed or deleted, since its pool's rollout.strategy is OnDelete"
    return f"{drift}; it is replaced like an outdated one"
