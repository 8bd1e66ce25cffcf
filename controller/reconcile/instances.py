"""The instance pass: observes one instance, decides, launches, probes, ends it, and writes its status."""

from collections.abc import Callable
from datetime import datetime

from controller import metrics
from controller.core import instance as core
from controller.core.plan import Note, Ref
from controller.core.stages import UNFINISHED, Sighting, Stage
from controller.core.tokens import TokenFact
from controller.model import AgentInstance, InstancePhase, InstanceStatus, WarmStrategy
from controller.ports import Remote, RemoteState
from controller.reconcile.apply import Apply
from controller.reconcile.bookkeeping import Bookkeeper
from controller.reconcile.connections import Connections
from controller.reconcile.discretion import Discretion
from controller.reconcile.facts import Facts, InstanceFacts
from controller.reconcile.keys import Key
from controller.reconcile.view import View
from controller.reconcile.writes import Writes

_STAGES = {
    RemoteState.BUILDING: Stage.BUILDING,
    RemoteState.DEPLOYING: Stage.DEPLOYING,
    RemoteState.SLEEPING: Stage.SLEEPING,
    RemoteState.UNKNOWN: Stage.UNKNOWN,
}
ROUNDS = 20
"""Actions of one pass at most: launch, probe, and what follows; probes that are repeated wait between passes."""


class InstancePass:
    """Moves one instance through its life."""

    def __init__(
        self,
        view: View,
        facts: Facts,
        connections: Connections,
        apply: Apply,
        writes: Writes,
        bookkeeper: Bookkeeper,
        discretion: Discretion,
        clock: Callable[[], datetime],
    ) -> None:
        self._discretion = discretion
        self._view = view
        self._facts = facts
        self._connections = connections
        self._apply = apply
        self._writes = writes
        self._bookkeeper = bookkeeper
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
            if not instance.metadata.deleting and self._view.is_pool_gone(instance) is None:
                await self._writes.look_for_pool(instance)
            remote = self._remote(instance)
            if remote is not None and remote.message:
                await self._discretion.learn(instance)
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
                build_deadline_seconds=pool.spec.startup.build_deadline_seconds,
                deploy_deadline_seconds=pool.spec.startup.deploy_deadline_seconds,
                probe_seconds=pool.spec.startup.probe_interval_milliseconds / 1000,
                check_seconds=pool.spec.health.interval_seconds,
                failure_threshold=pool.spec.health.failure_threshold,
                pause_idle=pool.spec.warm_strategy is WarmStrategy.PAUSED,
            )
        remotes, found = self._connections.of(instance), self._remote(instance)
        told = self._discretion.fit(instance, found.message) if found is not None else ""
        remote = _remote_fact(found, told, facts, now)
        if remote is not None and remote.stage in UNFINISHED and self._view.is_free(meta.uid):
            # Whoever got it would lose it to the program that is about to take its place.
            self._view.suspect(Ref(meta.namespace, meta.name, meta.uid), True)
        return core.ObservedInstance(
            instance=instance,
            timing=timing,
            pool_gone=self._view.is_pool_gone(instance) is True,
            claim=self._claim(instance),
            remote=remote,
            remote_known=remotes is None or remotes.listed,
            remote_gone=facts.remote_gone,
            terminate_asked_at=facts.terminate_asked_at,
            probe=facts.probe,
            trouble=facts.trouble,
            first_seen_at=facts.first_seen_at,
            suspect=self._view.is_suspect(meta.uid),
            account=self._bookkeeper.account(instance),
            replaced_on_delete=pool is not None and pool.spec.rollout.strategy == "OnDelete",
            token=_token_fact(facts),
        )

    def _remote(self, instance: AgentInstance) -> Remote | None:
        remotes = self._connections.of(instance)
        return remotes.get(instance.metadata.uid) if remotes is not None else None

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


def _token_fact(facts: InstanceFacts) -> TokenFact:
    token = facts.token
    if token is None:
        return TokenFact(failed_at=facts.token_failed_at)
    return TokenFact(True, token.spare is not None and not token.undecided, token.rotated, facts.token_failed_at)


def _remote_fact(remote: Remote | None, told: str, facts: InstanceFacts, now: datetime) -> core.RemoteFact | None:
    if remote is None or remote.partial:
        return None  # half of one is none yet: a launch finds it, and goes on
    stage = _STAGES.get(remote.state, Stage.RUNNING)
    facts.sighting = Sighting.after(facts.sighting, stage, now)
    exited = (told or "it exited") if remote.state is RemoteState.EXITED else None
    return core.RemoteFact(
        backend_id=remote.backend_id,
        url=remote.url,
        exited=exited,
        paused=remote.state is RemoteState.PAUSED,
        anonymous=remote.anonymous and not facts.rename_refused,
        stage=stage,
        since=facts.sighting.since(remote.since) if facts.sighting is not None else remote.since,
        told=told,
        drift=remote.drift,
    )
