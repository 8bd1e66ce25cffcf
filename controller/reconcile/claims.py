"""The claim pass: observes one claim, decides, provisions its instance, and writes its status."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from controller import metrics
from controller.core import claim as core
from controller.core.plan import ClaimAction, Note, Ref
from controller.model import AgentClaim, AgentInstance, AgentPool, ClaimPhase, ClaimStatus, InstancePhase, WhenEmpty
from controller.reconcile.apply import Apply
from controller.reconcile.bookkeeping import Bookkeeper
from controller.reconcile.facts import ClaimFacts, Facts
from controller.reconcile.keys import Key
from controller.reconcile.view import View
from controller.reconcile.writes import Writes

ROUNDS = 10
"""Actions of one pass at most."""


class ClaimPass:
    """Gets one claim its agent, or says why it has none."""

    def __init__(
        self,
        view: View,
        facts: Facts,
        apply: Apply,
        writes: Writes,
        bookkeeper: Bookkeeper,
        clock: Callable[[], datetime],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._view = view
        self._facts = facts
        self._apply = apply
        self._writes = writes
        self._bookkeeper = bookkeeper
        self._clock = clock
        self._spawn = spawn

    async def run(self, key: Key) -> float | None:
        """One pass; answers in how many seconds to look again."""
        for _ in range(ROUNDS):
            claim = self._view.claims.get(key.object)
            if claim is None:
                return None
            now = self._clock()
            plan = core.decide(self._observe(claim, now), now)
            wrote = plan.status is not None and await self._write(claim, plan.status, plan.notes, now)
            if not plan.actions and not wrote:
                return plan.look_again_in
            await self._perform(plan.actions)
        return 1.0

    async def _perform(self, actions: tuple[ClaimAction, ...]) -> None:
        """All at once: none of them needs another one's answer."""
        for outcome in await asyncio.gather(*map(self._apply.perform_for_claim, actions), return_exceptions=True):
            if outcome is not None:
                raise outcome
        for action in actions:
            metrics.action_done(type(action).__name__).inc()

    def _observe(self, claim: AgentClaim, now: datetime) -> core.ObservedClaim:
        uid, facts = claim.metadata.uid, self._facts.claims[claim.metadata.uid]
        facts.first_seen_at = facts.first_seen_at or now
        pool = self._view.pools.get((claim.metadata.namespace, claim.spec.pool))
        holder = self._holder(claim, facts)
        return core.ObservedClaim(
            claim=claim,
            pool=self._pool(pool) if pool is not None else None,
            assigned=self._assigned(holder) if holder is not None else None,
            rivals=self._rivals(claim, facts),
            outcome=facts.outcome,
            accepted_conversation=facts.accepted_conversation,
            asked_at=facts.asked_at,
            rejection=facts.rejection,
            being_bound=self._view.is_being_bound(uid),
            first_seen_at=facts.first_seen_at,
            queue_position=self._view.positions.get(uid),
            status_written_at=facts.status_written_at,
            account=self._bookkeeper.account(claim, holder=holder),
        )

    def _holder(self, claim: AgentClaim, facts: ClaimFacts) -> AgentInstance | None:
        """The instance that names the claim; of two, which late writes can make, the one that was asked already."""
        phase, asked = claim.status.phase, facts.outcome.instance_uid if facts.outcome is not None else facts.chosen
        if asked is not None and (phase is None or not phase.provisioned):
            for instance in self._view.holders(claim.metadata.uid):
                if instance.metadata.uid == asked and not self._view.is_going(instance):
                    return instance
        return self._view.holder(claim.metadata.uid)

    def _rivals(self, claim: AgentClaim, facts: ClaimFacts) -> tuple[core.Assigned, ...]:
        """Those that may all be the claim's; none, once it is known which is."""
        status, holders = claim.status, self._view.holders(claim.metadata.uid)
        known = facts.outcome is not None or facts.chosen is not None
        if len(holders) < 2 or known or (status.phase is not None and status.phase.provisioned):
            return ()
        retired = status.instance if status.phase is ClaimPhase.PENDING else None
        rivals = [self._assigned(each) for each in holders if each.metadata.name != retired]
        usable = tuple(each for each in rivals if each.url and not each.deleting and each.crashed is None)
        return usable if len(usable) > 1 else ()

    def _assigned(self, instance: AgentInstance) -> core.Assigned:
        meta, status = instance.metadata, instance.status
        crashed = (status.message or "it crashed") if status.phase is InstancePhase.CRASHED else None
        return core.Assigned(
            ref=Ref(meta.namespace, meta.name, meta.uid),
            url=status.url,
            deleting=self._view.is_going(instance),
            crashed=crashed,
        )

    def _pool(self, pool: AgentPool) -> core.PoolView:
        policy = pool.spec.claims
        has_idle = any(True for _ in self._view.idle(pool.key))
        return core.PoolView(
            provision_timeout_seconds=policy.provision_timeout_seconds,
            bind_timeout_seconds=policy.bind_timeout_seconds,
            default_lifetime_seconds=policy.default_lifetime_seconds,
            max_lifetime_seconds=policy.max_lifetime_seconds,
            queues=policy.when_empty is WhenEmpty.QUEUE,
            has_idle=has_idle,
            why_empty=_why_empty(pool),
            lives_in=pool.spec.template.lives_in,
            barrier=self._bookkeeper.barrier,
        )

    async def _write(self, claim: AgentClaim, status: ClaimStatus, notes: tuple[Note, ...], now: datetime) -> bool:
        # Somebody waits for an agent, nobody for the news that they are still waiting.
        urgent = status.phase is not None and status.phase.provisioned
        if not await self._writes.write_status(claim, claim.status, status, urgent=urgent):
            return False
        labels = (claim.metadata.namespace, claim.spec.pool)
        # Not the dictionary: the claim may have been deleted while its status was written.
        facts = self._facts.claims.get(claim.metadata.uid) or ClaimFacts()
        facts.status_written_at = now
        phase = status.phase
        if phase is ClaimPhase.BOUND and claim.status.phase is not ClaimPhase.BOUND and facts.first_seen_at is not None:
            metrics.CLAIM_BIND_SECONDS.labels(*labels).observe((self._clock() - facts.first_seen_at).total_seconds())
        if phase is not None and phase.ended:
            reason = next((note.reason for note in notes), "")
            metrics.CLAIMS_ENDED.labels(*labels, str(phase), reason).inc()
        for note in notes:
            # Off the path: whoever waits for the claim reads its status, not its Events.
            self._spawn(self._writes.announce(claim, note))
        return True


def _why_empty(pool: AgentPool) -> str:
    """What the claim waits for, in words that do not change while it waits: each change would be a write."""
    name, spec = pool.metadata.name, pool.spec
    if spec.paused:
        return f"pool {name} is paused and has nothing idle: set spec.paused to false"
    return f"waiting for an instance of pool {name} to become idle"
