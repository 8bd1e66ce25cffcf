"""People who do as they please, drawn from the seed."""

from collections.abc import Callable
from random import Random

from controller.model import AgentClaim, AgentInstance, AgentPool
from tests.doubles.inmemory_runtime import UNWANTED
from tests.simulation.world import NAMESPACE, World, quietly

POOLS = ("alpha", "beta", "gamma")
WARMTH = ("Running", "Paused")


class Users:
    """Creates, changes and deletes whatever users may."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._number = 0

    def begin(self) -> None:
        """The pools that are there from the beginning."""
        for name in POOLS[: self._random.randint(1, 3)]:
            self._create_pool(name)

    def act(self) -> None:
        """Do one thing."""
        actions: list[tuple[Callable[[], object], int]] = [
            (self._claim, 12),
            (self._burst, 1),
            (self._delete_claim, 7),
            (self._scale, 3),
            (self._change_template, 1),
            (self._pause, 1),
            (self._change_warmth, 1),
            (self._create_pool_again, 2),
            (self._delete_pool, 1),
            (self._delete_instance, 1),
            (self._bring_instructions, 1),
        ]
        weights = [weight for _, weight in actions]
        self._random.choices([action for action, _ in actions], weights)[0]()

    def clean(self) -> None:
        """Mend what users broke, so that the world can come to rest."""
        self._bring_instructions()
        for pool in self._world.server.list(AgentPool):
            if pool.spec.template.env and pool.spec.template.env[0].name == "BROKEN":
                self._world.change_pool(pool.metadata.name, template={"env": None})

    def _create_pool(self, name: str) -> None:
        random = self._random
        self._world.create_pool(
            name,
            minIdle=random.randint(0, 4),
            maxTotal=random.randint(4, 12),
            warmStrategy=random.choice(WARMTH),
            startup={"deadlineSeconds": 30},
            health={"intervalSeconds": 5, "failureThreshold": 2, "timeoutSeconds": 2},
            claims={
                "whenEmpty": random.choice(("Queue", "Queue", "Queue", "Fail")),
                "provisionTimeoutSeconds": random.choice((3, 10)),
                **random.choice(({}, {}, {"bindTimeoutSeconds": 30}, {"defaultLifetimeSeconds": 40})),
            },
            rollout=random.choice(
                ({}, {"maxSurge": 2}, {"maxSurge": 0, "maxUnavailable": 1}, {"strategy": "OnDelete"})
            ),
            circuitBreaker={"failures": 3, "openSeconds": 15},
        )

    def _create_pool_again(self) -> None:
        missing = [name for name in POOLS if self._world.server.find(AgentPool, name) is None]
        if missing:
            self._create_pool(self._random.choice(missing))

    def _claim(self) -> None:
        self._number += 1
        random, name = self._random, f"claim-{self._number:03}"
        wishes = random.choice(
            (
                {},
                {},
                {"priority": random.randint(-2, 5)},
                {"lifetimeSeconds": random.randint(1, 40)},
                {"joinUrl": "https://example.org/join"},
                {"joinUrl": "https://example.org/wait"},
                {"bindTimeoutSeconds": random.randint(1, 30)},
                {"instructionsFrom": {"configMapKeyRef": {"name": "prompts", "key": "short"}}},
                {"agentName": UNWANTED if random.random() < 0.3 else "Ada"},
            )
        )
        self._world.create_claim(name, random.choice(POOLS), **wishes)

    def _burst(self) -> None:
        for _ in range(self._random.randint(2, 12)):
            self._claim()

    def _delete_claim(self) -> None:
        claims = self._world.server.list(AgentClaim)
        if claims:
            self._world.delete(AgentClaim, self._random.choice(claims).metadata.name)

    def _pool(self) -> AgentPool | None:
        pools = self._world.server.list(AgentPool)
        return self._random.choice(pools) if pools else None

    def _scale(self) -> None:
        if pool := self._pool():
            change = self._random.choice(
                ({"minIdle": self._random.randint(0, 6)}, {"maxTotal": self._random.randint(3, 14)})
            )
            quietly(self._world.change_pool, pool.metadata.name, **change)

    def _change_template(self) -> None:
        if pool := self._pool():
            name = "BROKEN" if self._random.random() < 0.2 else "VERSION"
            env = [{"name": name, "value": str(self._random.randint(1, 5))}]
            self._world.change_pool(pool.metadata.name, template={"env": env})

    def _pause(self) -> None:
        if pool := self._pool():
            self._world.change_pool(pool.metadata.name, paused=self._random.random() < 0.4)

    def _change_warmth(self) -> None:
        if pool := self._pool():
            self._world.change_pool(pool.metadata.name, warmStrategy=self._random.choice(WARMTH))

    def _delete_pool(self) -> None:
        if pool := self._pool():
            self._world.delete(AgentPool, pool.metadata.name)

    def _delete_instance(self) -> None:
        instances = self._world.server.list(AgentInstance)
        if instances:
            self._world.delete(AgentInstance, self._random.choice(instances).metadata.name)

    def _bring_instructions(self) -> None:
        self._world.server.config_maps[NAMESPACE, "prompts"] = {"short": "Be brief."}
