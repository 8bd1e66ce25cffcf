"""The instance pass: observes one instance, decides, launches, probes, ends it, and writes its status."""

from collections.abc import Callable, Mapping
from datetime import datetime

from controller import metrics
from controller.core import instance as core
from controller.core.plan import Note
from controller.model import AgentInstance, InstancePhase, InstanceStatus, WarmStrategy
from controller.ports import Remote, RemoteState
from controller.reconcile.apply import Apply
from controller.reconcile.facts import Facts
from controller.reconcile.keys import Key
from controller.reconcile.remotes import Remotes
from controller.reconcile.view import View
from controller.reconcile.writes import Writes

ROUNDS = 20
"""Actions of one pass at most: launch, probe, and what follows; probes that are repeated wait between passes."""


class InstancePass:
    """Moves one instance through its life."""

    def __init__(
        self,
        view: View,
        facts: Facts,
        remotes: Mapping[str, Remotes],
        apply: Apply,
        writes: Writes,
        clock: Callable[[], datetime],
    ) -> None:
        self._view = view
        self._facts = facts
        self._remotes = remotes
        self._apply = apply
        self._writes = writes
        self._clock = clock

    async def run(self, key: Key) -> float | None:
        """One pass; answers in how many seconds to look again."""
        for _ in range(ROUNDS):
            instance = self._view.instances.get(key.object)
            if instance is None:
                return None
            reference = instance.spec.claim_ref
            if reference is not None and not self._view.has_heard_of(reference.uid):
                # Not known is not deleted: its event may still be on the way, or it went while no operator ran.
                await self._writes.look_for_claim(instance.metadata.namespace, reference.name, reference.uid)
            now = self._clock()
            plan = core.decide(self._observe(instance, now), now)
            # What was written is decided on anew: its answer may be the first to tell of a deletion, and only the
            # decision on what is stored now knows when to look again.
            wrote = plan.status is not None and await self._write(instance, plan.status, plan.notes)
            if not plan.actions and not wrote:
                return plan.look_again_in
            for action in plan.actions:
                await self._apply.perform_for_instance(action)
                metrics.action_done(type(action).__name__).inc()
        return 1.0

    def _observe(self, instance: AgentInstance, now: datetime) -> core.ObservedInstance:
        meta, facts = instance.metadata, self._facts.instances[instance.metadata.uid]
        facts.first_seen_at = facts.first_seen_at or now
        pool = self._view.pools.get((meta.namespace, instance.spec.pool))
        timing = core.Timing()
        if pool is not None:
            timing = core.Timing(
                deadline_seconds=pool.spec.startup.deadline_seconds,
                probe_seconds=pool.spec.startup.probe_interval_milliseconds / 1000,
                check_seconds=pool.spec.health.interval_seconds,
                failure_threshold=pool.spec.health.failure_threshold,
                pause_idle=pool.spec.warm_strategy is WarmStrategy.PAUSED,
            )
        remotes = self._remotes.get(instance.spec.backend.name)
        remote = remotes.get(meta.uid) if remotes is not None else None
        return core.ObservedInstance(
            instance=instance,
            timing=timing,
            pool_gone=pool is None or pool.metadata.deleting or pool.metadata.uid != instance.spec.pool_uid,
            claim=self._claim(instance),
            remote=_remote_fact(remote, facts.rename_refused),
            remote_known=remotes is None or remotes.listed,
            remote_gone=facts.remote_gone,
            terminate_asked_at=facts.terminate_asked_at,
            probe=facts.probe,
            trouble=facts.trouble,
            first_seen_at=facts.first_seen_at,
        )

    def _claim(self, instance: AgentInstance) -> core.ClaimFact | None:
        reference = instance.spec.claim_ref
        if reference is None:
            return None
        claim = self._view.claim_by_uid(reference.uid)
        if claim is None or claim.metadata.deleting:
            return core.ClaimFact(over=f"its claim {reference.name} was deleted")
        status = claim.status
        if status.phase is not None and status.phase.ended:
            return core.ClaimFact(over=f"its claim {reference.name} has ended: {status.message or status.phase}")
        provisioned = status.phase is not None and status.phase.provisioned
        if provisioned and status.instance != instance.metadata.name:
            # A binding that was given up for lost and arrived late, or the work of another controller.
            return core.ClaimFact(over=f"its claim {reference.name} is served by instance {status.instance}")
        return core.ClaimFact(bound_at=status.bound_at, conversation_id=status.conversation_id, provisioned=provisioned)

    async def _write(self, instance: AgentInstance, status: InstanceStatus, notes: tuple[Note, ...]) -> bool:
        if not await self._writes.write_status(instance, instance.status, status, urgent=False):
            return False
        labels = (instance.metadata.namespace, instance.spec.pool)
        created, phase = instance.metadata.creation_timestamp, instance.status.phase
        if status.phase is InstancePhase.IDLE and instance.status.ready_at is None and created and status.ready_at:
            seconds = (status.ready_at - created).total_seconds()
            metrics.INSTANCE_START_SECONDS.labels(*labels).observe(max(0.0, seconds))
        if status.phase is InstancePhase.CRASHED and phase is not InstancePhase.CRASHED:
            reason = next((note.reason for note in notes), "Crashed")
            metrics.INSTANCES_CRASHED.labels(*labels, reason).inc()
        for note in notes:
            await self._writes.announce(instance, note)
        return True


def _remote_fact(remote: Remote | None, rename_refused: bool) -> core.RemoteFact | None:
    if remote is None:
        return None
    exited = (remote.message or "it exited") if remote.state is RemoteState.EXITED else None
    return core.RemoteFact(
        backend_id=remote.backend_id,
        url=remote.url,
        exited=exited,
        paused=remote.state is RemoteState.PAUSED,
        anonymous=remote.anonymous and not rename_refused,
    )
