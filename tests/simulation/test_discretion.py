"""What an instance was given in confidence is in no object, whoever quotes it."""

from controller.errors import Refused
from controller.model import AgentPool
from controller.ports import LaunchOrder
from tests.doubles.backend import Habits
from tests.simulation.world import NAMESPACE, World, tell

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


def quoting(order: LaunchOrder) -> bool:
    """A backend that refuses a launch with the value that it does not like."""
    raise Refused("BadVariable", f"a variable is not allowed: {order.env['MODEL_KEY']}")


def test_a_backend_that_quotes_a_variable_from_a_secret_is_not_quoted() -> None:
    async def story(world: World) -> None:
        world.server.secrets[NAMESPACE, "keys"] = {"model": KEY}
        told: list[str] = []
        world.server.observers.append(lambda change: told.append(repr(change)))
        env = [{"name": "MODEL_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "model"}}}]
        world.create_pool(minIdle=1, template={"env": env}, circuitBreaker={"failures": 1})
        world.start()

        def last_failure() -> str:
            breaker = world.server.read(AgentPool, NAMESPACE, "agents").status.circuit_breaker
            return (breaker.last_failure or "") if breaker is not None else ""

        await world.until(lambda: "a variable is not allowed" in last_failure(), "the pool says why nothing starts")
        assert "sent in confidence" in last_failure()
        assert not [each for each in told if KEY in each]

    tell(story, habits=Habits(refused=quoting))
