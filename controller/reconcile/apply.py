"""Apply: the one place where plans have effects. What the world answers becomes a fact or is learned by the view."""

from random import Random
from typing import assert_never

from controller.core.claim import Rejection
from controller.core.plan import (
    AskAcceptance,
    Bind,
    ClaimAction,
    Create,
    Delete,
    InstanceAction,
    Launch,
    PoolAction,
    Probe,
    Provision,
    Reject,
    Release,
    Terminate,
)
from controller.reconcile.facts import Facts
from controller.reconcile.operations import Operations
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
        provisioner: Provisioner,
        view: View,
        facts: Facts,
        random: Random,
    ) -> None:
        self._writes = writes
        self._operations = operations
        self._provisioner = provisioner
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
                await self._writes.bind(action)
            case Create():
                await self._writes.create(action, name)
            case Delete():
                await self._writes.delete(action)
            case Reject():
                pass
            case _:
                assert_never(action)

    async def perform_for_instance(self, action: InstanceAction) -> None:
        """Perform an action of an instance pass."""
        match action:
            case Launch():
                await self._operations.launch(action)
            case Probe():
                await self._operations.probe(action)
            case Terminate():
                await self._operations.terminate(action)
            case Release():
                await self._writes.release(action)
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
            case Delete():
                self._view.begin_delete(action.instance)
                await self._writes.delete(action)
            case _:
                assert_never(action)
