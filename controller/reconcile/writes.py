"""Writes: every change that the controller makes at the API server, each learned by the view at once."""

import asyncio
import itertools
import logging
from collections.abc import Mapping
from typing import Any

from controller import metrics
from controller.core.backoff import backoff
from controller.core.plan import Bind, Create, Delete, Note, Ref
from controller.errors import AgentpoolError, Conflict, Missing, Refused, Transient
from controller.model import (
    FINALIZER,
    LEDGER_FINALIZER,
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimStatus,
    InstanceStatus,
    PoolStatus,
)
from controller.ports import Announcement, AnyResource, Cluster
from controller.reconcile.documents import binding_patch, finalizers_patch, instance_manifest, status_patch
from controller.reconcile.lanes import Lanes
from controller.reconcile.view import View

log = logging.getLogger(__name__)

NORMAL_EVENTS_PER_SECOND = 5.0
NORMAL_EVENTS_BURST = 20.0
"""Good news in excess of this is left unsaid: refilling the pool is worth more than an Event."""


class Writes:
    """Bind, create, delete, hold and let go, write a status, publish an Event."""

    def __init__(self, cluster: Cluster, view: View, lanes: Lanes) -> None:
        self._cluster = cluster
        self._view = view
        self._lanes = lanes
        self._tokens, self._tokens_at = NORMAL_EVENTS_BURST, 0.0

    async def write_status(
        self,
        thing: AnyResource,
        before: PoolStatus | InstanceStatus | ClaimStatus,
        after: PoolStatus | InstanceStatus | ClaimStatus,
        *,
        urgent: bool,
    ) -> bool:
        """Write a status if it differs; the answer is learned. False: there was nothing to write."""
        meta = thing.metadata
        # What a claim was promised is never taken back by a controller that did not know of the promise, nor by a
        # request that was given up for lost and arrives late. The other kinds are counted anew at every pass.
        version = meta.resource_version if isinstance(thing, AgentClaim) else None
        patch = status_patch(meta.uid, before, after, version=version)
        if patch is None:
            return False
        try:
            async with self._lanes.urgent() if urgent else self._lanes.background():
                answer = await self._cluster.patch(type(thing), meta.namespace, meta.name, patch, subresource="status")
        except (Conflict, Missing):
            await self._look_again(type(thing), meta.namespace, meta.name, thing)
            raise
        self._view.learn(answer)
        return True

    async def announce(self, about: AgentPool | AgentInstance | AgentClaim, note: Note) -> None:
        """Publish an Event. One that cannot be published is logged and lost: conditions say the same."""
        log.log(
            logging.WARNING if note.type == "Warning" else logging.INFO,
            "%s %s/%s: %s: %s",
            about.kind_name,
            *about.key,
            note.reason,
            note.message,
        )
        if note.type == "Normal" and not self._may_tell_good_news():
            metrics.EVENTS_DROPPED.inc()
            return
        try:
            async with self._lanes.background():
                await self._cluster.announce(Announcement(about, note.type, note.reason, note.message))
        except AgentpoolError as error:
            log.warning("an Event about %s/%s could not be published: %s", *about.key, error)

    def _may_tell_good_news(self) -> bool:
        now = asyncio.get_running_loop().time()
        earned = (now - self._tokens_at) * NORMAL_EVENTS_PER_SECOND
        self._tokens, self._tokens_at = min(NORMAL_EVENTS_BURST, self._tokens + earned), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def bind(self, action: Bind) -> None:
        """Write the claim on the instance, if the instance is still what the decision was made on."""
        instance = action.instance
        try:
            async with self._lanes.urgent():
                answer = await self._cluster.patch(
                    AgentInstance, instance.namespace, instance.name, binding_patch(action)
                )
            self._view.learn(answer)
        except (Conflict, Transient):
            # Whether or not it was written: look. If it was, the instance names the claim and all goes on from there.
            known = self._view.instance_by_uid.get(instance.uid)
            await self._look_again(AgentInstance, instance.namespace, instance.name, known)
            raise
        finally:
            self._view.release(instance, action.claim)

    async def create(self, action: Create, name: str) -> None:
        """Create an instance under a name that was reserved in the view."""
        pool = self._view.pools.get(action.pool.key)
        namespace = action.pool.namespace
        try:
            if pool is None or pool.metadata.uid != action.pool.uid:
                return
            manifest = instance_manifest(pool, name, action.template_hash)
            try:
                async with self._lanes.background():
                    answer = await self._cluster.create(AgentInstance, namespace, manifest)
            except Transient:
                # It may have been created although the answer is lost: only when it is not there may it be forgotten.
                await self._look_again(AgentInstance, namespace, name, None)
                raise
            self._view.end_create(action.pool.key, name)
            self._view.learn(answer)
        finally:
            self._view.end_create(action.pool.key, name)

    async def delete(self, action: Delete) -> None:
        """Ask for the deletion of an instance, if it is still what the decision was made on."""
        instance, known = action.instance, self._view.instance_by_uid.get(action.instance.uid)
        log.info("instance %s/%s is deleted: %s: %s", *instance.key, action.reason, action.message)
        try:
            async with self._lanes.background():
                answer = await self._cluster.delete(
                    AgentInstance, instance.namespace, instance.name, uid=instance.uid, version=action.version
                )
            if answer is not None:
                self._view.learn(answer)
            elif known is not None:
                self._view.forget(known)
        except Missing:
            if known is not None:
                self._view.forget(known)
        except Conflict:
            await self._look_again(AgentInstance, instance.namespace, instance.name, known)
            raise
        finally:
            self._view.end_delete(instance)

    async def look_for_claim(self, namespace: str, name: str, uid: str) -> None:
        """Make certain whether a claim exists."""
        await self._look_again(AgentClaim, namespace, name, None)
        if not self._view.has_heard_of(uid):
            self._view.bury(uid)

    async def look_for_pool(self, instance: AgentInstance) -> None:
        """Make certain whether the pool of an instance exists: one that does not fit our schema is in no list."""
        namespace, name, uid = instance.metadata.namespace, instance.spec.pool, instance.spec.pool_uid
        try:
            await self._look_again(AgentPool, namespace, name, None)
        except Refused as error:
            log.error("instance %s/%s goes on without its pool %s: %s", *instance.key, name, error)
            return
        if self._view.is_pool_gone(instance) is None:
            self._view.bury(uid)

    async def _look_again(self, kind: type[AnyResource], namespace: str, name: str, known: AnyResource | None) -> None:
        """Read what a write was refused for, or may have changed: the watch may tell it late, or never.

        Goes on until it is known, and the reservation stands so long: deciding without it could do the thing twice.
        """
        for failures in itertools.count(1):
            try:
                self._view.learn(await self._cluster.read(kind, namespace, name))
            except Missing:
                if known is not None:
                    self._view.forget(known)
            except Transient:
                await asyncio.sleep(backoff(failures))
                continue
            return

    async def release(self, instance: Ref) -> None:
        """Take our finalizer off an instance: it is gone for good."""
        await self._let_go(self._view.instance_by_uid.get(instance.uid), FINALIZER)

    async def hold(self, claim: Ref) -> None:
        """Put our finalizer on a claim, which is told nothing before."""
        known = self._view.claim_by_uid(claim.uid)
        if known is not None and not known.metadata.deleting:
            body = finalizers_patch(known.metadata, add=LEDGER_FINALIZER)
            self._view.learn(await self._patch(known, body, urgent=True))

    async def let_go(self, claim: Ref) -> None:
        """Take our finalizer off a claim: it is gone for good."""
        await self._let_go(self._view.claim_by_uid(claim.uid), LEDGER_FINALIZER)

    async def _let_go(self, thing: AgentInstance | AgentClaim | None, finalizer: str) -> None:
        if thing is None:
            return
        try:
            answer = await self._patch(thing, finalizers_patch(thing.metadata, drop=finalizer))
        except Missing:
            self._view.forget(thing)
            return
        if answer.metadata.finalizers:
            self._view.learn(answer)
        else:
            self._view.forget(thing)

    async def _patch(self, thing: AnyResource, body: Mapping[str, Any], *, urgent: bool = False) -> AnyResource:
        meta = thing.metadata
        try:
            async with self._lanes.urgent() if urgent else self._lanes.background():
                return await self._cluster.patch(type(thing), meta.namespace, meta.name, body)
        except Conflict:
            await self._look_again(type(thing), meta.namespace, meta.name, thing)
            raise
