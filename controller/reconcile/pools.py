"""The pool pass: observes one pool from the view, decides, and sets the writes going."""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import Any

from controller import metrics
from controller.core import pool as core
from controller.core.backoff import backoff
from controller.core.breaker import Breaker
from controller.core.claimstatus import bind_deadline
from controller.core.members import Member, MemberState
from controller.core.plan import Note, PoolAction, Reject, soonest
from controller.errors import AgentpoolError, Conflict
from controller.model import AgentPool, BreakerState, PoolStatus, condition_of, template_hash
from controller.reconcile.apply import Apply
from controller.reconcile.bookkeeping import Bookkeeper
from controller.reconcile.connections import Connections
from controller.reconcile.facts import Facts, PoolFacts
from controller.reconcile.keys import Key, claim_key, pool_key
from controller.reconcile.queue import KeyedQueue
from controller.reconcile.view import View
from controller.reconcile.writes import Writes

log = logging.getLogger(__name__)

STATUS_SECONDS = 1.0
"""A pool's status is written no more often than this."""
ROUNDS = 5
"""A pass comes to rest after two rounds; more would be a mistake in the decision, so it stops and says so."""


class PoolPass:
    """Binds, creates and retires within one pool. Its writes are reserved in the view, so it never waits for them."""

    def __init__(
        self,
        view: View,
        facts: Facts,
        connections: Connections,
        apply: Apply,
        writes: Writes,
        bookkeeper: Bookkeeper,
        queue: KeyedQueue,
        clock: Callable[[], datetime],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._view = view
        self._facts = facts
        self._connections = connections
        self._apply = apply
        self._writes = writes
        self._bookkeeper = bookkeeper
        self._queue = queue
        self._clock = clock
        self._spawn = spawn

    async def bind(self, key: Key) -> float | None:
        """The first step of a pass by itself: a claim gets its instance before anything else is thought of."""
        pool = self._view.pools.get(key.object)
        if pool is None or pool.metadata.deleting:
            return None
        waiting = self._waiting(pool, self._clock()) if self._bookkeeper.barrier is None else ()
        idle = [member for member in self._view.idle(pool.key) if member.pool_uid == pool.metadata.uid]
        for action in core.bind(idle, waiting, self._template_hash(pool)):
            self._spawn(self._perform(pool_key(*key.object), action, self._apply.reserve(action)))
        self._queue.add_after(pool_key(*key.object), self._view.count_seconds(key.object))
        return None

    async def run(self, key: Key) -> float | None:
        """One pass; answers in how many seconds to look again."""
        for _ in range(ROUNDS):
            pool = self._view.pools.get(key.object)
            if pool is None or not self._place_has_answered(pool):
                return None
            now = self._clock()
            seen = self._observe(pool, now)
            plan = core.decide(seen, now)
            facts = self._facts.pools[pool.metadata.uid]
            if plan.status is not None:
                facts.breaker = Breaker.from_status(plan.status.circuit_breaker)
                facts.counted = frozenset(m.ref.uid for m in seen.members if m.state is MemberState.CRASHED)
            if not plan.actions:
                self._publish(pool, plan.status)
                return soonest(plan.look_again_in, self._write_status(key, pool, plan.status, now))
            for action in plan.actions:
                name = self._apply.reserve(action)
                self._spawn(self._perform(key, action, name))
                if isinstance(action, Reject):
                    self._queue.add(claim_key(*action.claim.key))
        log.error("pool %s/%s does not come to rest: please report this", *key.object)
        return 1.0

    def _template_hash(self, pool: AgentPool) -> str:
        facts = self._facts.pools[pool.metadata.uid]
        if facts.generation != pool.metadata.generation:
            facts.generation = pool.metadata.generation
            facts.template_hash = template_hash(pool.spec.backend, pool.spec.template)
        return facts.template_hash

    def _observe(self, pool: AgentPool, now: datetime) -> core.ObservedPool:
        facts = self._facts.pools[pool.metadata.uid]
        return core.ObservedPool(
            key=pool.key,
            pool=pool,
            template_hash=self._template_hash(pool),
            members=self._members(pool),
            waiting=self._waiting(pool, now),
            backend=self._backend(pool),
            ledger=self._bookkeeper.health,
            barrier=self._bookkeeper.barrier,
            counted=facts.counted,
            breaker=facts.breaker or Breaker.from_status(pool.status.circuit_breaker),
        )

    def _members(self, pool: AgentPool) -> tuple[Member, ...]:
        members, uid = self._view.members(pool.key), pool.metadata.uid
        if all(member.pool_uid in {uid, ""} for member in members):
            return members
        # Left over from a pool of the same name that was deleted: they are on their way out, and count till then.
        left = {MemberState.IDLE, MemberState.SUSPECT, MemberState.STARTING}
        return tuple(
            replace(member, state=MemberState.TERMINATING)
            if member.pool_uid not in {uid, ""} and member.state in left
            else member
            for member in members
        )

    def _waiting(self, pool: AgentPool, now: datetime) -> tuple[core.Waiting, ...]:
        waiting = self._view.waiting(pool.key)
        if not waiting:
            return ()
        served = core.serve_order(claim for claim in waiting if not self._is_late(claim, pool, now))
        for position, claim in enumerate(served, start=1):
            before = self._view.positions.get(claim.ref.uid)
            self._view.positions[claim.ref.uid] = position
            if before is not None and before != position:
                self._queue.add_after(claim_key(*claim.ref.key), STATUS_SECONDS)
        return served

    def _is_late(self, waiting: core.Waiting, pool: AgentPool, now: datetime) -> bool:
        claim = self._view.claim_by_uid(waiting.ref.uid)
        deadline = bind_deadline(claim, pool.spec.claims.bind_timeout_seconds) if claim is not None else None
        return deadline is not None and now >= deadline

    def _place_has_answered(self, pool: AgentPool) -> bool:
        """Before the first answer nobody knows whether anything can be made there; it names the pool's key again."""
        remotes = self._connections.of(pool)
        return remotes is None or remotes.asked

    def _backend(self, pool: AgentPool) -> core.BackendHealth:
        remotes, name = self._connections.of(pool), pool.spec.backend.name
        if remotes is not None:
            return remotes.health
        message = f"this operator has no backend {name}: change spec.backend, or run a release that has it"
        return core.BackendHealth(False, "UnknownBackend", message)

    async def _perform(self, key: Key, action: PoolAction, name: str) -> None:
        kind, pool = type(action).__name__, self._view.pools.get(key.object)
        facts = self._facts.pools[pool.metadata.uid] if pool is not None else PoolFacts()
        try:
            await self._apply.perform_for_pool(action, name)
        except Conflict as error:
            metrics.ACTIONS.labels(kind, "conflict").inc()
            log.info("pool %s/%s: %s met a newer version, deciding anew: %s", *key.object, kind, error)
            self._queue.add(key)
        except AgentpoolError as error:
            metrics.ACTIONS.labels(kind, "failed").inc()
            facts.failures += 1
            log.warning("pool %s/%s: %s failed and is decided anew: %s", *key.object, kind, error)
            self._queue.add_after(key, backoff(facts.failures))
        else:
            metrics.action_done(kind).inc()
            facts.failures = 0

    def _write_status(self, key: Key, pool: AgentPool, status: PoolStatus | None, now: datetime) -> float | None:
        facts = self._facts.pools[pool.metadata.uid]
        if status is None or status == pool.status or facts.writing:
            return None
        if facts.status_written_at is not None:
            quiet = STATUS_SECONDS - (now - facts.status_written_at).total_seconds()
            if quiet > 0:
                return quiet
        facts.writing, facts.status_written_at = True, now
        self._spawn(self._write_and_tell(key, pool, status, facts))
        return None

    async def _write_and_tell(self, key: Key, pool: AgentPool, status: PoolStatus, facts: PoolFacts) -> None:
        try:
            await self._writes.write_status(pool, pool.status, status, urgent=False)
        except AgentpoolError as error:
            log.warning("pool %s/%s: its status could not be written: %s", *key.object, error)
        else:
            for note in _notes(pool, status):
                await self._writes.announce(pool, note)
        finally:
            facts.writing = False
            self._queue.add_after(key, STATUS_SECONDS)

    def _publish(self, pool: AgentPool, status: PoolStatus | None) -> None:
        if status is None:
            return
        labels = pool.key
        for state in ("idle", "starting", "claimed", "crashed", "terminating"):
            metrics.POOL_INSTANCES.labels(*labels, state).set(getattr(status, state))
        metrics.POOL_MIN_IDLE.labels(*labels).set(pool.spec.min_idle)
        metrics.POOL_MAX_TOTAL.labels(*labels).set(pool.spec.max_total)
        metrics.POOL_WAITING_CLAIMS.labels(*labels).set(status.waiting_claims)
        breaker = status.circuit_breaker
        metrics.POOL_CIRCUIT_OPEN.labels(*labels).set(
            1 if breaker is not None and breaker.state is not BreakerState.CLOSED else 0
        )


def _notes(pool: AgentPool, status: PoolStatus) -> list[Note]:
    """Events for what an operator must know: a pool that gets worse, and one that recovers."""
    before, after = condition_of(pool.status.conditions, "Degraded"), condition_of(status.conditions, "Degraded")
    if after is None or (before is not None and (before.status, before.reason) == (after.status, after.reason)):
        return []
    if after.status == "True":
        return [Note("Warning", after.reason, after.message)]
    return [Note("Normal", "Recovered", "the pool works as expected again")] if before is not None else []
