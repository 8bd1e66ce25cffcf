"""The program inside the machines of ``tests.doubles.backend``, with idempotency keys or without; and its port."""

from collections.abc import Callable
from dataclasses import replace
from hmac import compare_digest
from itertools import count

from controller.errors import Conflict, Refused, Transient
from controller.ports import UNAUTHORIZED, Endpoint, Provisioned, ProvisionOrder, Readiness
from tests.doubles.backend import Machine, Machines
from tests.doubles.wire import NoAnswerError, Wire

UNWANTED = "Unwanted"
"""An agent name that no runtime takes."""


class Programs:
    """What happens inside the machines."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._numbers = count(1)
        self.made: list[tuple[Machine, str]] = []
        """Every conversation ever made, with its key."""
        self.observers: list[Callable[[Machine, str], None]] = []
        """Told of every new conversation."""

    def probe(self, endpoint: Endpoint) -> Readiness:
        """What the health check of the program says."""
        machine = self._machines.at(endpoint.url)
        if machine is None:
            return Readiness(False, "nothing listens there")
        if not self._machines.responds(machine):
            return Readiness(False, "it does not answer")
        return Readiness(True)

    def provision(self, endpoint: Endpoint, order: ProvisionOrder) -> Provisioned:
        """Take up a conversation, once in its life."""
        machine = self._responding(endpoint)
        machine.asked.add(order.key)
        if order.agent_name == UNWANTED:
            raise Refused("BadOrder", "the runtime does not take that name")
        if machine.conversations and not (machine.keys and order.key in machine.conversations):
            raise Conflict("it holds a conversation already")
        if order.key not in machine.conversations:
            machine.conversations[order.key] = self._make(order)
            machine.taken_up = order.next_token if machine.rotates else None
            self.made.append((machine, order.key))
            for observer in self.observers:
                observer(machine, order.key)
        return replace(machine.conversations[order.key], token_rotated=machine.taken_up is not None)

    def conversation(self, endpoint: Endpoint) -> str | None:
        """The conversation that it is in by now."""
        machine = self._responding(endpoint)
        for made in machine.conversations.values():
            if not made.pending:
                return made.conversation_id
            return f"accepted-by-{machine.uid}" if machine.accepted else None
        return None

    def _make(self, order: ProvisionOrder) -> Provisioned:
        number = next(self._numbers)
        if order.join_url is None:
            return Provisioned(f"conversation-{number}", f"https://example.org/{number}", joined=False)
        if "wait" in order.join_url:
            return Provisioned(None, None, joined=False, pending=True)
        return Provisioned(f"conversation-{number}", None, joined=True)

    def _responding(self, endpoint: Endpoint) -> Machine:
        machine = self._machines.at(endpoint.url)
        if machine is None:
            raise Transient("the connection was refused")
        if not compare_digest(machine.token.encode(), endpoint.token.encode()):
            raise Refused(UNAUTHORIZED, "the token is wrong")
        if not self._machines.responds(machine):
            if machine.waking:
                raise Transient("it is just being woken")
            raise NoAnswerError
        return machine


class MemoryRuntime:
    """The port ``Runtime`` of one client of the programs."""

    def __init__(self, programs: Programs, wire: Wire) -> None:
        self._programs = programs
        self._wire = wire

    async def probe(self, endpoint: Endpoint, *, timeout: float) -> Readiness:  # noqa: ASYNC109
        try:
            return await self._wire.call(
                f"probe {endpoint.url}", lambda: self._programs.probe(endpoint), write=False, timeout=timeout
            )
        except Transient as error:
            return Readiness(False, str(error))

    async def provision(self, endpoint: Endpoint, order: ProvisionOrder, *, timeout: float) -> Provisioned:  # noqa: ASYNC109
        what = f"provision {endpoint.url} for {order.key}"
        return await self._wire.call(what, lambda: self._programs.provision(endpoint, order), timeout=timeout)

    async def conversation(self, endpoint: Endpoint, *, timeout: float) -> str | None:  # noqa: ASYNC109
        what = f"conversation {endpoint.url}"
        return await self._wire.call(what, lambda: self._programs.conversation(endpoint), write=False, timeout=timeout)

    async def close(self) -> None:
        """Nothing is held."""
