"""The story that every run tells: what people do with one pool, from its creation to its end."""

import random
import signal
from collections.abc import Callable
from functools import partial

import httpx

from tests.e2e import host
from tests.e2e.api import KINDS, Object
from tests.e2e.system import FAST, name_of
from tests.faults.stage import Stage

POOL = "p"
GIVES_ONE_BACK = 4
"""The step in which a claim is deleted."""


class Story:
    """The steps, one after the other; none waits for more than it needs, so that many things are under way at once."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.stage, self._dice = stage, dice
        self.kept: set[str] = set()
        """Claims that were not given back, nor told to expire."""
        self.expiring: set[str] = set()
        self.crashed: list[str] = []
        """Instances whose processes were killed."""
        self.idle = 2
        """How many warm ones the pool is to hold."""
        self.steps: tuple[Callable[[], None], ...] = (
            self.make_a_pool,
            self.claim,
            self.join_a_conversation,
            self.crash_a_claimed_one,
            self.give_one_back,
            self.claim_for_a_second,
            self.want_more,
            self.crash_an_idle_one,
            self.claim_another,
        )

    def make_a_pool(self) -> None:
        backend: Object = {"process": {}}
        spec = {
            "minIdle": self.idle,
            "maxTotal": 12,
            "backend": backend,
            "template": {},
            **FAST,
            **self.stage.plan.pool,
        }
        self._create("agentpools", POOL, spec)

    def claim(self) -> None:
        for name in ("early", "kept", "unlucky"):
            self._claim(name)

    def join_a_conversation(self) -> None:
        """With the invite of another one, which must have it first."""
        invite = self.stage.until(lambda: self._status("kept").get("inviteUrl"), self.stage.told, "an invite URL")
        self._claim("joins", joinUrl=invite)
        self._claim("asks", joinUrl=f"{invite}&wait=1")

    def crash_a_claimed_one(self) -> None:
        """Its claim stays, and says so, until somebody gives it back."""
        system = self.stage.system
        self._until_phase("unlucky", "Bound")
        victim = self.stage.until(lambda: system.instance_of("unlucky"), self.stage.told, "the instance of a claim")
        self.crashed.append(name_of(victim))
        host.signal_all(system.pids(victim), signal.SIGKILL)

    def give_one_back(self) -> None:
        self._delete("agentclaims", "early")
        self.kept.discard("early")

    def claim_for_a_second(self) -> None:
        self._claim("expires", lifetimeSeconds=1)
        self.kept.discard("expires")
        self.expiring.add("expires")

    def want_more(self) -> None:
        self.idle = 3
        body = {"spec": {"minIdle": self.idle}}
        self._patiently(
            lambda: self.stage.api.http.patch(
                self.stage.api.path("agentpools", POOL),
                json=body,
                headers={"Content-Type": "application/merge-patch+json"},
            ),
            {200},
        )

    def crash_an_idle_one(self) -> None:
        system = self.stage.system
        victim = self.stage.until(lambda: system.idle(POOL)[:1], self.stage.told, "an idle instance")[0]
        self.crashed.append(name_of(victim))
        host.signal_all(system.pids(victim), signal.SIGKILL)

    def claim_another(self) -> None:
        self._claim("last")

    def visit(self, name: str) -> None:
        """Somebody claims, and gives back."""
        self._claim(name)
        self._until_phase(name, "Bound")
        self._delete("agentclaims", name)
        self.kept.discard(name)

    # The end.

    def settle(self) -> None:
        """Until everybody has what was promised, and the pool holds what it shall."""
        stage = self.stage
        for name in sorted(self.kept - {"asks"}):
            self._until_phase(name, "Bound")
        stage.until(self._is_let_in, stage.told, "the one that asks is let in")
        for name in sorted(self.expiring):
            self._until_phase(name, "Expired")
        for name in self.crashed:
            stage.until(partial(self._is_seen_crashed, name), stage.told, f"{name} is seen to have crashed")
        held = len(self.kept)
        stage.until(lambda: self._is_settled(held), lambda: (self._seen(), stage.told()), "the pool has settled")

    def end(self) -> None:
        """Everything is given back."""
        stage = self.stage
        for plural in ("agentclaims", "agentpools"):
            for item in self._all(plural):
                self._delete(plural, name_of(item))
        stage.until(lambda: not any(map(stage.api.all, KINDS)), lambda: (self._seen(), stage.told()), "all is gone")

    def _is_seen_crashed(self, name: str) -> bool:
        """An idle one is replaced; unless a claim got it in the last moment, which then has to say so."""
        found = self.stage.api.find("agentinstances", name)
        return found is None or found.get("status", {}).get("phase") == "Crashed"

    def _is_settled(self, held: int) -> bool:
        system = self.stage.system
        idle = system.idle(POOL)
        status = system.get_pool(POOL).get("status", {})
        return len(idle) == self.idle == status.get("idle") and len(system.instances(POOL)) == held + self.idle

    def _seen(self) -> list[tuple[str, object, object]]:
        objects = [*self.stage.api.all("agentinstances"), *self.stage.api.all("agentclaims")]
        return [(name_of(each), each["spec"].get("claimRef"), each.get("status")) for each in objects]

    # What people do, again if the API server is away.

    def _claim(self, name: str, **spec: object) -> None:
        self._create("agentclaims", name, {"pool": POOL, "agentName": f"Agent {name}", **spec})
        self.kept.add(name)

    def _create(self, plural: str, name: str, spec: Object) -> None:
        body = {"apiVersion": "agentpool.dev/v1alpha1", "kind": KINDS[plural], "metadata": {"name": name}, "spec": spec}
        # A server that was killed may have stored it and not said so: then there is one already.
        self._patiently(lambda: self.stage.api.http.post(self.stage.api.path(plural), json=body), {201, 409})

    def _delete(self, plural: str, name: str) -> None:
        self._patiently(lambda: self.stage.api.http.delete(self.stage.api.path(plural, name)), {200, 202, 404})

    def _until_phase(self, name: str, phase: str) -> None:
        told = f"{name} is {phase}"
        self.stage.until(lambda: self._status(name).get("phase") == phase, self.stage.told, told)

    def _all(self, plural: str) -> list[Object]:
        return self.stage.until(lambda: [self.stage.api.all(plural)], self.stage.told, "the API server lists")[0]

    def _is_let_in(self) -> bool:
        """Whoever owns the conversation lets it in, whichever instance it is that waits."""
        status = self._status("asks")
        if status.get("phase") == "PendingAcceptance":
            instance = self.stage.api.find("agentinstances", status["instance"])
            if instance is not None and instance.get("status", {}).get("url"):
                self.stage.system.ask(instance, "POST", "/convos/accept")
        return status.get("phase") == "Bound"

    def _status(self, name: str) -> Object:
        found = self.stage.api.find("agentclaims", name)
        status: Object = found.get("status", {}) if found else {}
        return status

    def _patiently(self, attempt: Callable[[], httpx.Response], wanted: set[int]) -> None:
        self.stage.until(lambda: attempt().status_code in wanted, self.stage.told, "the API server takes it")
