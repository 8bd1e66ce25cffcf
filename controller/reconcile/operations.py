"""Operations on remotes: launch, probe, terminate; what backends and runtimes answer becomes a fact."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from controller import metrics
from controller.core.instance import LaunchTrouble, ProbeFact
from controller.core.plan import EndOrphan, Launch, LearnToken, Probe, Ref, Rename, SettleToken, Terminate
from controller.errors import Barred, Missing, Refused, Transient
from controller.model import AgentInstance
from controller.ports import LaunchOrder, Readiness, Remote, Runtime
from controller.reconcile.connections import Connections
from controller.reconcile.facts import Facts, InstanceFacts
from controller.reconcile.provisioning import Provisioner
from controller.reconcile.remotes import Remotes, wished_wait
from controller.reconcile.tokens import Tokens
from controller.reconcile.view import View

log = logging.getLogger(__name__)

ORPHAN_GRACE_SECONDS = 10.0
"""Between asking a remote that nobody owns to end, and forcing it."""


TOKEN_READS = 8
"""Tokens that are read at once after a restart; a claim that needs one before its turn does not wait for it."""


class Operations:
    """What is done with the remote of an instance."""

    def __init__(
        self,
        runtime: Runtime,
        connections: Connections,
        provisioner: Provisioner,
        tokens: Tokens,
        view: View,
        facts: Facts,
        clock: Callable[[], datetime],
        suspicion: Callable[[AgentInstance], None],
    ) -> None:
        self._suspicion = suspicion
        self._runtime = runtime
        self._connections = connections
        self._provisioner = provisioner
        self._tokens = tokens
        self._view = view
        self._facts = facts
        self._clock = clock
        self._probes = asyncio.Semaphore(64)
        self._token_reads = asyncio.Semaphore(TOKEN_READS)

    async def launch(self, action: Launch) -> None:
        """Have the backend start the remote; trouble is kept for the next observe."""
        instance = self._view.instance_by_uid.get(action.instance.uid)
        if instance is None:
            return
        facts, remotes = self._facts.instances[action.instance.uid], self._remotes_of(instance)
        try:
            if remotes is None:
                name = instance.spec.backend.name
                raise Refused("UnknownBackend", f"this operator has no backend {name}: change the pool's backend")
            async with remotes.launching(action.instance.uid):
                begun = remotes.get(action.instance.uid) is not None
                env = await self._provisioner.environment(instance, begun=begun)
                pull_secret = await self._provisioner.pull_secret(instance)
                remotes.learn(await self._ordered(remotes, instance, _order(instance, env, pull_secret)))
            facts.trouble = None
        except (Refused, Transient, Missing) as error:
            # A place that takes nothing takes this order, too, once it is open again.
            final = isinstance(error, Refused) and not isinstance(error, Barred)
            reason = error.reason if isinstance(error, Refused) else "LaunchFailed"
            if isinstance(error, Missing):
                reason = "SecretNotFound"
            tries = facts.trouble.tries + 1 if facts.trouble is not None else 1
            # Before anything is known in confidence, nothing was said to a backend that could repeat it.
            known = facts.confidential is not None
            told = self._provisioner.discretion.fit(instance, str(error)) if known else str(error)
            facts.trouble = LaunchTrouble(self._clock(), tries, reason, told, final, wished_wait(error))

    async def _ordered(self, remotes: Remotes, instance: AgentInstance, order: LaunchOrder) -> Remote:
        try:
            return await remotes.backend.launch(order)
        except Barred as error:
            # From here on it is told of the place: in the log, on every pool there, and by each launch it turns away.
            told = self._provisioner.discretion.fit(instance, str(error))
            raise Barred(error.reason, told, error.retry_after) from None

    async def probe(self, action: Probe) -> None:
        """Ask the runtime whether it is ready."""
        instance = self._view.instance_by_uid.get(action.instance.uid)
        if instance is None:
            return
        facts = self._facts.instances[action.instance.uid]
        pool = self._view.pools.get((instance.metadata.namespace, instance.spec.pool))
        timeout = pool.spec.health.timeout_seconds if pool is not None else 5.0
        try:
            endpoint = await self._tokens.endpoint(instance, action.url)
        except Missing as error:
            # It may well be healthy, but nobody could hand it out, nor ask it anything.
            self._found(instance, facts, Readiness(False, str(error)))
            return
        async with self._probes:
            found = await self._runtime.probe(endpoint, timeout=timeout)
        if found.detail:
            await self._provisioner.discretion.learn(instance)
        self._found(instance, facts, replace(found, detail=self._provisioner.discretion.fit(instance, found.detail)))

    def _found(self, instance: AgentInstance, facts: InstanceFacts, found: Readiness) -> None:
        meta = instance.metadata
        failures = 0 if found.ready else self._failures(instance, facts.probe)
        facts.probe = ProbeFact(self._clock(), found.ready, failures, found.detail)
        if self._view.suspect(Ref(meta.namespace, meta.name, meta.uid), failures > 0):
            self._suspicion(instance)

    async def tend_token(self, action: LearnToken | SettleToken) -> None:
        """Read its token in good time, or have its Secret hold the one that counts."""
        instance = self._view.instance_by_uid.get(action.instance.uid)
        if instance is None:
            return
        facts = self._facts.instances[action.instance.uid]
        try:
            if isinstance(action, SettleToken):
                await self._tokens.settle(instance, action.url)
            else:
                async with self._token_reads:
                    await self._tokens.of(instance)
        except Missing as error:
            facts.token_failed_at = self._clock()
            self._found(instance, facts, Readiness(False, str(error)))
        except (Refused, Transient) as error:
            facts.token_failed_at = self._clock()
            await self._provisioner.discretion.learn(instance)
            told = self._provisioner.discretion.fit(instance, str(error))
            log.warning("the token of instance %s/%s is left for later: %s", *action.instance.key, told)

    def _failures(self, instance: AgentInstance, last: ProbeFact | None) -> int:
        before, remotes = last.failures if last is not None else 0, self._remotes_of(instance)
        if instance.spec.claim_ref is None and remotes is not None and not remotes.readable:
            # With its engine its port may be away, and be back in a moment: nobody gets it meanwhile, but it is not
            # given up either. A claimed one is: its owner is to know, and it is well again when it answers again.
            return max(before, 1)
        return before + 1

    async def rename(self, action: Rename) -> None:
        """Have the backend show whose it is: a help for people, which never stands in the way of anything else."""
        instance = self._view.instance_by_uid.get(action.instance.uid)
        remotes = self._remotes_of(instance) if instance is not None else None
        if instance is None or remotes is None:
            return
        try:
            answer = await remotes.backend.rename(
                action.instance.uid, pool=instance.spec.pool, agent_name=action.agent_name
            )
        except Barred as error:
            # Nothing is wrong with the name: it is given once the place takes orders again.
            raise Transient(str(error), error.retry_after) from None
        except (Refused, Missing) as error:
            self._facts.instances[action.instance.uid].rename_refused = True
            log.warning("instance %s/%s keeps the name of its remote: %s", *action.instance.key, error)
        else:
            remotes.learn(answer)

    async def terminate(self, action: Terminate) -> None:
        """Have the backend end the remote, or go on ending it."""
        instance = self._view.instance_by_uid.get(action.instance.uid)
        if instance is None:
            return
        facts, remotes = self._facts.instances[action.instance.uid], self._remotes_of(instance)
        if remotes is None:
            log.warning("%s/%s ran on a backend that this operator does not have", *action.instance.key)
            facts.terminate_asked_at = self._clock()
            return
        grace = instance.spec.backend.termination_grace_seconds
        facts.terminate_asked_at = self._clock()
        facts.remote_gone = await remotes.terminate(action.instance.uid, grace=float(grace))

    async def end_orphan(self, action: EndOrphan) -> bool:
        """End a remote that nobody owns; True once nothing is left of it."""
        remotes = self._connections.named(action.backend)
        if remotes is None:
            return True
        gone = await remotes.terminate(action.uid, grace=ORPHAN_GRACE_SECONDS)
        if gone:
            metrics.ORPHANS_ENDED.labels(action.backend).inc()
            log.warning("ended %s on backend %s: no AgentInstance owns it", action.uid, action.backend)
        return gone

    def _remotes_of(self, instance: AgentInstance) -> Remotes | None:
        return self._connections.of(instance)


def _order(instance: AgentInstance, env: Mapping[str, str], pull_secret: str | None) -> LaunchOrder:
    meta, spec = instance.metadata, instance.spec
    return LaunchOrder(
        uid=meta.uid,
        name=meta.name,
        namespace=meta.namespace,
        pool=spec.pool,
        backend=spec.backend,
        template=spec.template,
        env=env,
        pull_secret=pull_secret,
    )
