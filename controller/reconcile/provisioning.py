"""Provisioning: what an instance is told at launch and at claim, and what it answered."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from controller.core.claim import ProvisionOutcome
from controller.core.plan import AskAcceptance, AskRivals, Provision
from controller.errors import AgentpoolError, Conflict, Missing, Refused, Transient
from controller.model import DEFAULT_INSTRUCTIONS, AgentClaim, AgentInstance
from controller.ports import Cluster, Endpoint, Provisioned, ProvisionOrder, Runtime
from controller.reconcile.discretion import Discretion
from controller.reconcile.facts import Facts
from controller.reconcile.logins import confidential_in
from controller.reconcile.power import Power
from controller.reconcile.secrets import Secrets
from controller.reconcile.tokens import Tokens
from controller.reconcile.view import View

log = logging.getLogger(__name__)

ORDER_REFUSED = "ProvisionRefused"
"""The reason with which a runtime refuses an order that no other would take either."""


class Provisioner:
    """Reads what Secrets and ConfigMaps hold at the last moment, and hands it to the instance and nobody else."""

    def __init__(
        self,
        cluster: Cluster,
        secrets: Secrets,
        runtime: Runtime,
        tokens: Tokens,
        power: Power,
        view: View,
        facts: Facts,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._secrets = secrets
        self._runtime = runtime
        self._tokens = tokens
        self._power = power
        self._view = view
        self._facts = facts
        self._clock = clock
        self.discretion = Discretion(self._in_confidence, facts)

    async def environment(self, instance: AgentInstance, *, begun: bool) -> dict[str, str]:
        """The environment of an instance, whose launch may have begun before; ``Missing`` names the Secret or key that
        is not there."""
        namespace, env, confidential = instance.metadata.namespace, {}, []
        for variable in instance.spec.template.env:
            source = variable.value_from
            if source is None:
                env[variable.name] = variable.value or ""
            else:
                reference = source.secret_key_ref
                env[variable.name] = await self._secrets.value(namespace, reference.name, reference.key)
                confidential.append(env[variable.name])
        if instance.spec.template.network is not None:
            env["XMTP_ENV"] = instance.spec.template.network.value
        env["INSTANCE_ID"] = instance.metadata.uid
        env["OPENCLAW_GATEWAY_TOKEN"] = await self._tokens.for_launch(instance, begun=begun)
        self.discretion.launched(instance.metadata.uid, confidential)
        return env

    async def pull_secret(self, instance: AgentInstance) -> str | None:
        """The credentials for the registry of its image; ``Missing`` names the Secret or key that is not there."""
        held = await self._pull_secret(instance)
        if held is not None:
            self.discretion.told(instance.metadata.uid, confidential_in(held))
        return held

    async def _pull_secret(self, instance: AgentInstance) -> str | None:
        backend = instance.spec.backend
        options = backend.docker or backend.railway
        if options is None or options.image_pull_secret is None:
            return None
        return await self._secrets.value(
            instance.metadata.namespace, options.image_pull_secret.name, ".dockerconfigjson"
        )

    async def provision(self, action: Provision) -> None:
        """Give the instance its conversation; the answer becomes the claim's outcome."""
        claim, instance = self._view.claims.get(action.claim.key), self._view.instance_by_uid.get(action.instance.uid)
        if claim is None or instance is None or claim.metadata.uid != action.claim.uid:
            return
        facts, began = self._facts.claims[action.claim.uid], self._clock()
        last = facts.outcome
        if last is not None and last.instance_uid != action.instance.uid:
            last = None
        tries = last.tries + 1 if last is not None else 1
        # The instance's time begins when it is first asked, not while the instructions are missing.
        first = last.first_try_at if last is not None and last.kind != "unprepared" else began

        def outcome(kind: str, reason: str = "", message: str = "") -> ProvisionOutcome:
            return ProvisionOutcome(action.instance.uid, kind, first, self._clock(), tries, reason, message)

        try:
            instructions = await self._instructions(claim)
        except AgentpoolError as error:
            facts.outcome = outcome("unprepared", "InstructionsNotFound", str(error))
            return
        pool = self._view.pools.get((action.claim.namespace, claim.spec.pool))
        patience = pool.spec.claims.provision_timeout_seconds if pool is not None else 30
        left = max(1.0, patience - (began - first).total_seconds())
        order = ProvisionOrder(claim.metadata.uid, claim.spec.agent_name, instructions, claim.spec.join_url)
        self.discretion.told(instance.metadata.uid, (instructions, _path_of(claim.spec.join_url)))
        try:
            await self._power.wake(action.instance)
            answer = await self._order(instance, action.url, order, left)
        except Conflict as error:
            facts.outcome = outcome("unfit", "InstanceTaken", await self._fit(instance, error))
        except Refused as error:
            # Only the order itself is the claim's fault; a runtime that is none, or knows us not, is the instance's.
            kind = "refused" if error.reason == ORDER_REFUSED else "unfit"
            facts.outcome = outcome(kind, error.reason, await self._fit(instance, error))
        except (Transient, Missing) as error:
            told = await self._fit(instance, error)
            log.info("instance %s/%s has not taken up its conversation yet: %s", *action.instance.key, told)
            facts.outcome = outcome("transient", "", told)
        else:
            facts.outcome = ProvisionOutcome(
                action.instance.uid,
                "done",
                first,
                self._clock(),
                tries,
                conversation_id=answer.conversation_id,
                invite_url=answer.invite_url,
                joined=answer.joined,
                pending=answer.pending,
            )

    async def _order(self, instance: AgentInstance, url: str, order: ProvisionOrder, patience: float) -> Provisioned:
        """Give the order, and with it the token that is to open the instance from then on."""
        token = await self._tokens.of(instance)
        whole = replace(order, next_token=token.spare)

        def question(endpoint: Endpoint) -> Awaitable[Provisioned]:
            return self._runtime.provision(endpoint, whole, timeout=patience)

        answer = await self._tokens.ask(instance, url, question)
        token.rotated = token.rotated or (answer.token_rotated and token.spare is not None)
        return answer

    async def ask_acceptance(self, action: AskAcceptance) -> None:
        """Ask whether the agent is in the conversation by now."""
        instance = self._view.instance_by_uid.get(action.instance.uid)
        facts = self._facts.claims[action.claim.uid]
        facts.asked_at = self._clock()
        if instance is None:
            return
        try:
            facts.accepted_conversation = await self._tokens.ask(instance, action.url, self._conversation)
        except AgentpoolError:
            # The health check of the instance says what is wrong with it; here it is only asked again later.
            facts.accepted_conversation = None

    async def ask_rivals(self, action: AskRivals) -> None:
        """Find out which of them was asked for the claim's conversation by an operator that is gone."""
        facts = self._facts.claims[action.claim.uid]
        facts.asked_at = self._clock()
        having = []
        for ref, url in action.instances:
            instance = self._view.instance_by_uid.get(ref.uid)
            if instance is None:
                return
            try:
                if await self._tokens.ask(instance, url, self._conversation) is not None:
                    having.append(ref)
            except Refused:
                continue  # nor has it taken an order of ours
            except AgentpoolError:
                return  # asked again; if it stays away its health check says so, and it is out of the question
        facts.chosen = min(having or [ref for ref, _ in action.instances], key=lambda ref: ref.name).uid

    async def _instructions(self, claim: AgentClaim) -> str:
        source, namespace = claim.spec.instructions_from, claim.metadata.namespace
        if source is None:
            return claim.spec.instructions or DEFAULT_INSTRUCTIONS
        if source.secret_key_ref is not None:
            return await self._secrets.value(namespace, source.secret_key_ref.name, source.secret_key_ref.key)
        reference = source.config_map_key_ref
        if reference is None:
            return DEFAULT_INSTRUCTIONS
        try:
            content = await self._cluster.read_config_map(namespace, reference.name)
        except Missing:
            raise Missing(f"ConfigMap {reference.name} does not exist in namespace {namespace}: create it") from None
        if reference.key not in content:
            raise Missing(f"ConfigMap {reference.name} has no key {reference.key}: add it")
        return content[reference.key]

    async def _in_confidence(self, instance: AgentInstance) -> list[str]:
        """What it, or whoever fetched its image, was given besides its token, as far as that can still be read."""
        namespace, given = instance.metadata.namespace, list[str]()
        for variable in instance.spec.template.env:
            if variable.value_from is not None:
                reference = variable.value_from.secret_key_ref
                given.append(await self._secrets.value(namespace, reference.name, reference.key))
        held = await self._pull_secret(instance)
        if held is not None:
            given += confidential_in(held)
        claim = self._view.claim_by_uid(instance.spec.claim_ref.uid) if instance.spec.claim_ref is not None else None
        if claim is not None:
            given += [await self._instructions(claim), _path_of(claim.spec.join_url)]
        return given

    async def _fit(self, instance: AgentInstance, error: AgentpoolError) -> str:
        await self.discretion.learn(instance)
        return self.discretion.fit(instance, str(error))

    def _conversation(self, endpoint: Endpoint) -> Awaitable[str | None]:
        return self._runtime.conversation(endpoint, timeout=5.0)


def _path_of(link: str | None) -> str:
    """What is secret of an invite link: all but its host."""
    return (link or "").partition("://")[2].partition("/")[2]
