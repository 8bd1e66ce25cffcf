"""What must hold at every moment, whatever goes wrong; and what must hold once all is quiet."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator

from controller.model import (
    LEDGER_FINALIZER,
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimPhase,
    InstancePhase,
    Resource,
    WhenEmpty,
    template_hash,
)
from tests.doubles.backend import Machine, Machines
from tests.doubles.cluster import ApiServer, Change
from tests.doubles.inmemory_runtime import Programs
from tests.simulation.process import Process

HEARSAY_SECONDS = 20.0
"""What a user changed may be unknown to a controller for so long: its watch may be silent."""


class Invariants:
    """Watches the world itself, not what the controllers think of it."""

    def __init__(
        self, server: ApiServer, machines: Machines, programs: Programs, processes: list[Process], *, kept: bool
    ) -> None:
        """``kept``: there is a ledger."""
        self._server = server
        self._kept = kept
        self._machines = machines
        self._programs = programs
        self._processes = processes
        self.violations: list[str] = []
        self.overshoots = 0
        """Instances beyond maxTotal that two controllers, or a late request, made: documented, and counted."""
        self.doubles = 0
        """Claims that for a while held two instances, for the same reasons."""
        self.stolen = 0
        """Instances that a controller deleted which did not know yet that they were claimed, for the same reasons."""
        self._limits: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
        self._two_at = -HEARSAY_SECONDS
        server.observers.append(self._changed)
        programs.observers.append(self._given)
        server.deletion_observers.append(self._deleting)

    def _given(self, machine: Machine, key: str) -> None:
        if len(machine.conversations) > 1 or len(machine.asked) > 1:
            self._violated(f"instance {machine.uid} was asked for the conversations of {sorted(machine.asked)}")
        others = [m.uid for m, k in self._programs.made if k == key and m is not machine and self._holds(m)]
        if others and self._excused():
            self.doubles += 1
        elif others:
            self._violated(f"claim {key} has live conversations on {machine.uid} and {others[0]}")

    def _holds(self, machine: Machine) -> bool:
        """Whether the machine's conversation counts: it is not retired."""
        instance = self._server.by_uid(AgentInstance, machine.uid)
        return machine.lives and not machine.stopping and instance is not None and not instance.metadata.deleting

    def _excused(self) -> bool:
        """Whether two controllers work, or a request had its effect behind its sender's back."""
        return self._recently_two() or any(
            what.startswith(("patch agentinstances", "create agent", "delete"))
            for process in self._processes
            for what, at in process.stray_calls.items()
            if at >= self._now() - HEARSAY_SECONDS
        )

    def _recently_two(self) -> bool:
        if sum(process.alive for process in self._processes) > 1:
            self._two_at = self._now()
        return self._now() < self._two_at + HEARSAY_SECONDS

    def _changed(self, change: Change) -> None:
        self._recently_two()
        thing = change.thing
        if isinstance(thing, AgentPool):
            limit = 0 if change.type == "DELETED" else thing.spec.max_total
            self._limits[thing.metadata.name].append((self._now(), limit))
        elif isinstance(thing, AgentInstance):
            self._instance_changed(change, thing)
        elif isinstance(thing, AgentClaim) and isinstance(change.before, AgentClaim) and change.type != "DELETED":
            self._claim_changed(change.before, thing)

    def _instance_changed(self, change: Change, instance: AgentInstance) -> None:
        before = change.before
        if isinstance(before, AgentInstance) and before.spec.claim_ref is not None:
            if before.spec.claim_ref != instance.spec.claim_ref:
                self._violated(f"{instance.metadata.name} went from one claim to another")
        elif instance.spec.claim_ref is not None and change.type != "DELETED":
            self._bound(instance, instance.spec.claim_ref.uid)
        if change.type == "ADDED":
            self._count(instance)

    def _bound(self, instance: AgentInstance, claim_uid: str) -> None:
        name = instance.metadata.name
        if instance.status.phase is not InstancePhase.IDLE or instance.metadata.deleting:
            self._violated(f"{name} was bound while {instance.status.phase}")
        others = [
            other.metadata.name
            for other in self._server.list(AgentInstance)
            if other.spec.claim_ref is not None
            and other.spec.claim_ref.uid == claim_uid
            and other.metadata.uid != instance.metadata.uid
            and not other.metadata.deleting
        ]
        if others and not self._excused():
            self._violated(f"claim {claim_uid} was bound to {name} while it has {others}")

    def _count(self, instance: AgentInstance) -> None:
        pool = instance.spec.pool
        recent = self._limits[pool]
        limit = max(
            (value for at, value in recent if at >= self._now() - HEARSAY_SECONDS),
            default=recent[-1][1] if recent else 0,
        )
        if recent:
            older = [value for at, value in recent if at < self._now() - HEARSAY_SECONDS]
            limit = max([limit, *older[-1:]])
        # What is only held for the ledger costs nothing any more.
        total = sum(
            other.spec.pool == pool and (not other.metadata.deleting or other.metadata.uid in self._machines.running)
            for other in self._server.list(AgentInstance)
        )
        if total > limit:
            if self._excused():
                self.overshoots += 1
            else:
                self._violated(f"pool {pool} has {total} instances and may have {limit}")

    def _claim_changed(self, before: AgentClaim, after: AgentClaim) -> None:
        name, old, new = after.metadata.name, before.status, after.status
        if old.phase is not None and old.phase.ended and new.phase is not old.phase:
            self._violated(f"claim {name} went from {old.phase} to {new.phase}")
        if self._kept and new.phase is not None and LEDGER_FINALIZER not in after.metadata.finalizers:
            self._violated(f"claim {name} was told that it is {new.phase} before it was held for the ledger")
        if old.phase is not ClaimPhase.BOUND:
            return
        if new.phase is not ClaimPhase.BOUND and not (new.phase is not None and new.phase.ended):
            self._violated(f"claim {name} went from Bound to {new.phase}")
        same = (old.instance, old.conversation_id, old.bound_at) == (new.instance, new.conversation_id, new.bound_at)
        if new.phase is ClaimPhase.BOUND and not same:
            self._violated(f"claim {name} was silently rebound from {old.instance} to {new.instance}")

    def _deleting(self, thing: Resource, by: str) -> None:
        if not isinstance(thing, AgentInstance) or not by.startswith("controller") or thing.spec.claim_ref is None:
            return
        claim = self._server.by_uid(AgentClaim, thing.spec.claim_ref.uid)
        pool = self._server.find(AgentPool, thing.spec.pool)
        given_up = (
            claim is None or claim.metadata.deleting or (claim.status.phase is not None and claim.status.phase.ended)
        )
        pool_gone = pool is None or pool.metadata.deleting or pool.metadata.uid != thing.spec.pool_uid
        retired = claim is not None and (claim.status.phase is ClaimPhase.PENDING and bool(claim.status.attempts))
        spare = claim is not None and claim.status.instance not in {None, thing.metadata.name}
        if not (given_up or pool_gone or retired or spare):
            told = f"{thing.metadata.name}, which claim {thing.spec.claim_ref.name} holds, was deleted"
            if self._excused():
                self.stolen += 1
            else:
                self._violated(told)

    def _violated(self, what: str) -> None:
        self.violations.append(f"{self._now():.3f} {what}")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # At the end.

    def at_rest(self) -> Iterator[str]:
        """What is wrong with a world that has come to rest, in sentences."""
        yield from self._claims_at_rest()
        yield from self._instances_at_rest()
        yield from self._machines_at_rest()
        yield from self._secrets_at_rest()
        for pool in self._server.list(AgentPool):
            yield from self._pool_at_rest(pool)
        owners = {instance.metadata.uid for instance in self._server.list(AgentInstance)}
        yield from (f"remote {uid} has no owner" for uid in self._machines.running if uid not in owners)
        holders = Counter(
            i.spec.claim_ref.uid for i in self._server.list(AgentInstance) if i.spec.claim_ref is not None
        )
        yield from (f"{m.uid} was asked for {sorted(m.asked)}" for m in self._machines.all if len(m.asked) > 1)
        yield from (f"claim {uid} holds {number} instances" for uid, number in holders.items() if number > 1)

    def _claims_at_rest(self) -> Iterator[str]:
        for claim in self._server.list(AgentClaim):
            name, status = claim.metadata.name, claim.status
            if claim.metadata.deleting:
                yield f"claim {name} is stuck in deletion"
            elif status.phase is None:
                yield f"claim {name} has no phase"
            elif status.phase is ClaimPhase.BOUND:
                holder = self._server.find(AgentInstance, status.instance or "")
                reference = holder.spec.claim_ref if holder is not None else None
                if holder is None or reference is None or reference.uid != claim.metadata.uid:
                    yield f"claim {name} is Bound to {status.instance}, which does not hold it"
                elif status.conversation_id is None:
                    yield f"claim {name} is Bound without a conversation"
                elif holder.status.phase not in {InstancePhase.CLAIMED, InstancePhase.CRASHED}:
                    yield f"{status.instance}, which claim {name} holds, is {holder.status.phase}"
            elif status.phase is ClaimPhase.BINDING or not status.message:
                yield f"claim {name} is {status.phase} and says {status.message!r}"

    def _instances_at_rest(self) -> Iterator[str]:
        for instance in self._server.list(AgentInstance):
            name, reference = instance.metadata.name, instance.spec.claim_ref
            if instance.metadata.deleting:
                yield f"{name} is stuck in deletion"
            elif instance.status.phase in {None, InstancePhase.STARTING, InstancePhase.TERMINATING}:
                yield f"{name} rests as {instance.status.phase}"
            if self._server.find(AgentPool, instance.spec.pool) is None:
                yield f"{name} outlives its pool"
            if reference is not None:
                claim = self._server.by_uid(AgentClaim, reference.uid)
                if claim is None or (claim.status.phase is not None and claim.status.phase.ended):
                    yield f"{name} outlives its claim {reference.name}"
            if (
                instance.metadata.uid not in self._machines.running
                and instance.status.phase is not InstancePhase.CRASHED
            ):
                yield f"{name} has no remote and is {instance.status.phase}"

    def _machines_at_rest(self) -> Iterator[str]:
        """Claimed agents are awake and show their name."""
        for instance in self._server.list(AgentInstance):
            machine, reference = self._machines.running.get(instance.metadata.uid), instance.spec.claim_ref
            if machine is None or not machine.lives or instance.status.phase is not InstancePhase.CLAIMED:
                continue
            if machine.paused:
                yield f"{instance.metadata.name}, which a claim holds, is paused"
            if reference is not None and machine.agent_name != reference.agent_name:
                yield f"{instance.metadata.name} is shown as {machine.agent_name}, not as {reference.agent_name}"

    def _secrets_at_rest(self) -> Iterator[str]:
        """Nobody's token is left, and each Secret holds the one that opens its instance; after a claim no other."""
        self._server.collect_garbage()
        for namespace, name in self._server.owned_secrets:
            owner = self._server.by_uid(AgentInstance, self._server.read_secret(namespace, name).owner or "")
            if owner is None or name != f"{owner.metadata.name}-token":
                yield f"Secret {name} has no owner"
        for instance in self._server.list(AgentInstance):
            machine, key = self._machines.running.get(instance.metadata.uid), instance.metadata
            if machine is None:
                continue
            stored = self._server.owned_secrets.get((key.namespace, f"{key.name}-token"))
            if stored is None:
                yield f"{key.name} runs and has no Secret"
                continue
            content = self._server.read_secret(key.namespace, f"{key.name}-token").content
            # Of one that crashed before anybody could ask it, nobody knows which of the two opens it.
            if machine.token not in content.values() or (machine.lives and content["token"] != machine.token):
                yield f"the Secret of {key.name} holds a token that does not open it"
            if instance.status.phase is InstancePhase.CLAIMED and "next-token" in content:
                yield f"{key.name} is claimed, and its Secret still holds two tokens"

    def _pool_at_rest(self, pool: AgentPool) -> Iterator[str]:
        name, spec = pool.metadata.name, pool.spec
        members = [i for i in self._server.list(AgentInstance) if i.spec.pool == name]
        idle = [i for i in members if i.status.phase is InstancePhase.IDLE and i.spec.claim_ref is None]
        waiting = [
            c
            for c in self._server.list(AgentClaim)
            if c.spec.pool == name and c.status.phase in {None, ClaimPhase.PENDING, ClaimPhase.BINDING}
        ]
        if waiting and idle:
            yield f"claim {waiting[0].metadata.name} waits while {idle[0].metadata.name} is idle"
        counted = (pool.status.idle, pool.status.total, pool.status.waiting_claims)
        if counted != (len(idle), len(members), len(waiting)):
            yield f"pool {name} counts {counted} and has {(len(idle), len(members), len(waiting))}"
        if pool.status.observed_generation != pool.metadata.generation:
            yield f"pool {name} speaks of an old generation"
        full = len(members) >= spec.max_total
        if spec.paused:
            return
        if waiting and not full and spec.claims.when_empty is WhenEmpty.QUEUE:
            yield f"claim {waiting[0].metadata.name} waits although pool {name} has room"
        wanted = template_hash(spec.backend, spec.template)
        current = [i for i in idle if i.spec.template_hash == wanted]
        if len(idle if spec.rollout.strategy == "OnDelete" else current) < spec.min_idle and not full:
            yield f"pool {name} has {len(current)} current idle instances and wants {spec.min_idle}"
        if len(idle) > spec.min_idle:
            yield f"pool {name} has {len(idle)} idle instances and wants {spec.min_idle}"
