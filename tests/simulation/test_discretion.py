"""What an instance was given in confidence is in no object, whoever quotes it."""

import base64
import json

import pytest

from controller.errors import AgentpoolError, Barred, Refused, Transient
from controller.model import AgentPool, condition_of
from controller.ports import Endpoint, LaunchOrder
from tests.doubles.backend import Habits
from tests.simulation.world import NAMESPACE, World, tell

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


ENV = [{"name": "MODEL_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "model"}}}]


def watched(world: World) -> list[str]:
    """Whatever is stored from now on."""
    told: list[str] = []
    world.server.observers.append(lambda change: told.append(repr(change)))
    return told


def quoting(order: LaunchOrder) -> bool:
    """A backend that refuses a launch with the value that it does not like."""
    raise Refused("BadVariable", f"a variable is not allowed: {order.env['MODEL_KEY']}")


def test_a_backend_that_quotes_a_variable_from_a_secret_is_not_quoted() -> None:
    async def story(world: World) -> None:
        world.server.secrets[NAMESPACE, "keys"] = {"model": KEY}
        told = watched(world)
        world.create_pool(minIdle=1, template={"env": ENV}, circuitBreaker={"failures": 1})
        world.start()

        def last_failure() -> str:
            breaker = world.server.read(AgentPool, NAMESPACE, "agents").status.circuit_breaker
            return (breaker.last_failure or "") if breaker is not None else ""

        await world.until(lambda: "a variable is not allowed" in last_failure(), "the pool says why nothing starts")
        assert "sent in confidence" in last_failure()
        assert not [each for each in told if KEY in each]

    tell(story, habits=Habits(refused=quoting))


def test_a_place_that_takes_no_orders_and_quotes_a_variable_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    def barred(order: LaunchOrder) -> bool:
        raise Barred("PlanUsedUp", f"the plan takes no more variables: {order.env['MODEL_KEY']}", 30.0)

    async def story(world: World) -> None:
        world.server.secrets[NAMESPACE, "keys"] = {"model": KEY}
        told = watched(world)
        world.create_pool(minIdle=2, template={"env": ENV})
        world.start()

        def message() -> str:
            found = condition_of(
                world.server.read(AgentPool, NAMESPACE, "agents").status.conditions, "BackendAvailable"
            )
            return found.message if found is not None else ""

        await world.until(lambda: "the plan takes no more variables" in message(), "the pool says why nothing starts")
        assert "sent in confidence" in message()
        assert "the plan takes no more variables" in caplog.text
        assert not [each for each in (*told, caplog.text) if KEY in each]

    tell(story, habits=Habits(refused=barred))


def pull_secret(world: World) -> dict[str, object]:
    """The options of a pool whose image is fetched with a password."""
    login = base64.b64encode(f"ada:{KEY}".encode()).decode()
    content = json.dumps({"auths": {"r.example": {"auth": login}}})
    world.server.secrets[NAMESPACE, "pull"] = {".dockerconfigjson": content}
    world.server.secrets[NAMESPACE, "way-in"] = {"token": "a-token"}
    way = {"projectId": "project", "environmentId": "dev", "tokenSecretRef": {"name": "way-in", "key": "token"}}
    return {"railway": {**way, "imagePullSecret": {"name": "pull"}}}


def test_a_backend_that_quotes_the_password_of_a_registry_is_not_quoted() -> None:
    def refused(order: LaunchOrder) -> bool:
        raise Refused("ImagePullDenied", f"the registry turned away {KEY}")

    async def story(world: World) -> None:
        backend, told = pull_secret(world), watched(world)
        world.create_pool(minIdle=1, backend=backend, circuitBreaker={"failures": 1})
        world.start()
        await world.until(lambda: any("ImagePullDenied" in each for each in told), "it is told why nothing starts")
        assert not [each for each in told if KEY in each]

    tell(story, habits=Habits(refused=refused))


def test_after_a_restart_the_password_of_a_registry_is_not_quoted_either() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, maxTotal=1, backend=pull_secret(world))
        world.start()
        await world.until_warm(1)
        await world.restart()
        told, [machine] = watched(world), world.machines.all
        world.machines.crash(machine, f"exited with code 1; last line of its log: {KEY}")
        await world.until(lambda: any("exited with code 1" in each for each in told), "it is told why it ended")
        assert not [each for each in told if KEY in each]

    tell(story)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Transient(f"the runtime answered 500: bad key {KEY}"), "is left for later: the runtime answered 500: its own"),
        (Refused("NotAnAgentRuntime", f"what answers: bad key {KEY}"), "which one counts (NotAnAgentRuntime)"),
    ],
    ids=["for now", "for ever"],
)
def test_a_program_that_quotes_a_key_when_it_is_asked_for_its_token_is_not_quoted_in_the_log(
    error: AgentpoolError, says: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        def answer(_: Endpoint) -> str | None:
            raise error

        world.server.secrets[NAMESPACE, "keys"] = {"model": KEY}
        world.create_pool(minIdle=1, maxTotal=2, template={"env": ENV})
        world.start()
        world.doom(1, "after", "patch agentclaims .*")
        await world.until_warm(1)
        world.create_claim("mine")
        await world.death()
        monkeypatch.setattr(world.programs, "conversation", answer)
        # Its claim is bound: the next controller asks it for nothing but which of its two tokens counts.
        world.start()
        await world.until(lambda: says in caplog.text, "the log says that it was asked in vain")
        assert KEY not in caplog.text

    tell(story)
