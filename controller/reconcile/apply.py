"""Apply: the one place where plans have effects. What the world answers becomes a fact or is learned by the view."""

import asyncio
from random import Random
from typing import assert_never

from controller.core.claim import Rejection
from controller.core.plan import (
    AskAcceptance,
    AskRivals,
    Bind,
    ClaimAction,
    Conclude,
    Create,
    Delete,
    Hold,
    InstanceAction,
    Launch,
    LearnToken,
    LetGo,
    Pause,
    PoolAction,
    Probe,
    Provision,
    Reject,
    Release,
    Rename,
    Resume,
    SettleToken,
    Terminate,
)
from controller.reconcile.bookkeeping import Bookkeeper
from controller.reconcile.facts import Facts
from controller.reconcile.operations import Operations
from controller.reconcile.power import Power
from controller.reconcile.provisioning import Provisioner
from controller.reconcile.view import View
from controller.reconcile.writes import Writes

NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""As in Kubernetes' own generated names: no vowels, so that no words come out."""


class Apply:
    """Performs the actions of plans."""

    def __init__(
        self,
        writes: Writes,
        operations: Operations,
        power: Power,
        provisioner: Provisioner,
        bookkeeper: Bookkeeper,
        view: View,
        facts: Facts,
        random: Random,
    ) -> None:
        self._writes = writes
        self._operations = operations
        self._power = power
        self._provisioner = provisioner
        self._bookkeeper = bookkeeper
        self._view = view
        self._facts = facts
        self._random = random

    # Pools: every write is reserved in the view before it is begun, so that the pass need not wait for it.

    def reserve(self, action: PoolAction) -> str:
        """Count the action as done from now on. Answers the name of an instance to be created."""
        match action:
            case Bind():
                self._view.reserve(action.instance, action.claim)
            case Create():
                name = f"{action.pool.name}-{''.join(self._random.choices(NAME_ALPHABET, k=6))}"
                self._view.begin_create(action.pool.key, name, action.template_hash)
                return name
            case Delete():
                self._view.begin_delete(action.instance)
            case Reject():
                self._facts.claims[action.claim.uid].rejection = Rejection(action.reason, action.message)
                self._view.reject(action.claim)
            case _:
                assert_never(action)
        return ""

    async def perform_for_pool(self, action: PoolAction, name: str) -> None:
        """Perform a reserved action."""
        match action:
            case Bind():
                await self._bind(action)
            case Create():
                await self._writes.create(action, name)
            case Delete():
                await self._writes.delete(action)
            case Reject():
                pass
            case _:
                assert_never(action)

    async def _bind(self, action: Bind) -> None:
        if not self._power.sleeps(action.instance):
            await self._writes.bind(action)
            return
        # A frozen one wakes while its binding is written: the claim waits for the longer of the two, not for both.
        waking = self._power.begin_to_wake(action.instance)
        for outcome in await asyncio.gather(self._writes.bind(action), waking, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def perform_for_instance(self, action: InstanceAction) -> None:
        """Perform an action of an instance pass."""
        match action:
            case Launch():
                await self._operations.launch(action)
            case Probe():
                await self._operations.probe(action)
            case Pause():
                await self._power.pause(action)
            case Resume():
                await self._power.resume(action)
            case Rename():
                await self._operations.rename(action)
            case LearnToken() | SettleToken():
                await self._operations.tend_token(action)
            case Terminate():
                await self._operations.terminate(action)
            case Conclude():
                instance = self._view.instance_by_uid.get(action.subject.uid)
                if instance is not None:
                    self._bookkeeper.conclude(instance)
                    # It costs nothing any more, however long the ledger is away.
                    self._view.vacate(action.subject)
            case Release():
                await self._writes.release(action.instance)
            case Delete():
                self._view.begin_delete(action.instance)
                await self._writes.delete(action)
            case _:
                assert_never(action)

    async def perform_for_claim(self, action: ClaimAction) -> None:
        """Perform an action of a claim pass."""
        match action:
            case Provision():
                await self._provisioner.provision(action)
            case AskAcceptance():
                await self._provisioner.ask_acceptance(action)
            case AskRivals():
                await self._provisioner.ask_rivals(action)
            case Hold():
                await self._writes.hold(action.claim)
            case Conclude():
                claim = self._view.claim_by_uid(action.subject.uid)
                if claim is not None:
                    self._bookkeeper.conclude(claim)
            case LetGo():
                await self._writes.let_go(action.claim)
            case Delete():
                self._view.begin_delete(action.instance)
                await self._writes.delete(action)
            case _:
                assert_never(action)
