"""Secrets are planted wherever one can be, everything goes wrong that can, and none is found where people look."""

import base64
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.api import Api, Object, condition
from tests.e2e.commands import Command, free_port, run_to_end
from tests.e2e.system import SHORT_LEASE, System, create_namespace, unique
from tests.e2e.waiting import eventually
from tests.postgres.plugin import with_parts
from tests.security.canaries import Canaries, command_lines, files, resources, tables

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

BLABBER = Path(__file__).with_name("blabber.py")
LEFT_OUT = "what was sent in confidence"
NOWHERE = "00000000-0000-4000-8000-000000000000"


class Stage:
    """One operator full of secrets, and pools that are full of them, too."""

    def __init__(self, kind: str, kubeconfig: Path, folder: Path, database: str) -> None:
        self.canaries = Canaries()
        self._folder = folder
        self._kubeconfig = kubeconfig
        self.database = with_parts(database, password=self.canaries.new("database-password"))
        self.canaries.add("kubeconfig-token", yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"])
        self.webhook = self.canaries.new("webhook-secret")
        self._env = {
            "AGENTPOOL_WEBHOOK_SECRET": self.webhook,
            "AGENTPOOL_LEDGER_MIGRATE_AT_START": "true",
            "AGENTPOOL_BACKENDS": "process,docker,railway",
            "DOCKER_HOST": f"tcp://127.0.0.1:{free_port()}",
            "RAILWAY_API_URL": f"http://127.0.0.1:{free_port()}/graphql",
            "RAILWAY_TOKEN": self.canaries.new("railway-token-of-the-operator"),
            "RAILWAY_API_TOKEN": self.canaries.new("railway-api-token-of-the-operator"),
            "OPENROUTER_API_KEY": self.canaries.new("model-key-of-the-operator"),
            **SHORT_LEASE,
        }
        self.state = folder / "state"
        api = Api(kubeconfig, unique("canary"))
        self.namespace = api.namespace
        create_namespace(api)
        self.system = System(kind, api, self._command("json", self.database), self.state / "instances", api.namespace)

    def _command(self, form: str, database: str) -> Command:
        namespace = self.namespace
        where = ("--kubeconfig", str(self._kubeconfig), "--namespace", namespace, "--operator-namespace", namespace)
        rest = ("--state-dir", str(self.state), "--log-level", "debug", "--log-format", form)
        env = {**self._env, "AGENTPOOL_DATABASE_URL": database}
        return Command("run", *where, *rest, log=self._folder / form, **env)

    def plant(self) -> None:
        """Secrets, and pools with all kinds of trouble that could tell of them."""
        new, api = self.canaries.new, self.system.api
        api.create_secret("model", key=new("model-key"))
        api.create_secret("persona", text=f"You know the {new('instructions-from-a-secret')}.")
        api.create_secret("railway", token=new("railway-token"))
        login = base64.b64encode(f"agent:{new('pull-password')}".encode()).decode()
        api.create_secret("pull", **{".dockerconfigjson": json.dumps({"auths": {"localhost:1": {"auth": login}}})})
        railway = {
            "projectId": NOWHERE,
            "environmentId": NOWHERE,
            "tokenSecretRef": {"name": "railway", "key": "token"},
        }
        self._pool("well", {})
        for mode in ("crash", "sick", "refuse", "echo"):
            self._pool(mode, {"command": [sys.executable, str(BLABBER)]}, {"name": "BLABBER", "value": mode})
        self._pool("lost", {"command": ["/no/such/program", f"--key={new('argument')}"]})
        image = {"image": "localhost:1/agent"}
        self._pool("docker", image, backend={"docker": {"imagePullSecret": {"name": "pull"}}})
        self._pool("railway", image, backend={"railway": {**railway, "imagePullSecret": {"name": "pull"}}})

    def _pool(self, name: str, template: Object, *more: Object, **spec: Any) -> None:
        variable = {"name": "MODEL_KEY", "valueFrom": {"secretKeyRef": {"name": "model", "key": "key"}}}
        written = {"name": "INLINE_KEY", "value": self.canaries.new(f"inline-{name}")}
        self.system.pool(
            name,
            template={**template, "env": [variable, written, *more]},
            startup={"probeIntervalMilliseconds": 100},
            circuitBreaker={"failures": 1, "openSeconds": 3600},
            **spec,
        )

    def claim(self, name: str, pool: str) -> None:
        """A claim that says what it wants in confidence."""
        link = f"https://dev.convos.org/v2?i={self.canaries.new(f'link-of-{name}')}" if pool == "echo" else None
        told = f"You know the {self.canaries.new(f'instructions-of-{name}')} and tell nobody."
        self.system.claim(name, pool, instructions=told, **({"joinUrl": link} if link else {}))

    def learn_tokens(self) -> None:
        """The tokens of all instances that there are: those that count, and those that will."""
        for secret in self.system.api.all("secrets"):
            if secret["type"] == "agentpool.dev/instance-token":
                for key, value in secret["data"].items():
                    self.canaries.add(f"{key} of {secret['metadata']['name']}", base64.b64decode(value).decode())

    def search(self) -> list[str]:
        """Where people look, while it runs."""
        command, namespace = self.system.command, self.system.api.namespace
        places = {path: answer.text for path in ("/metrics", "/readyz", "/healthz") if (answer := command.get(path))}
        places["the operator's output"] = command.output
        return self.canaries.found(
            {
                **places,
                **dict(resources(self.system, (namespace,))),
                **dict(files(self.state)),
                **dict(tables(self.database)),
                **dict(command_lines()),
            }
        )

    def go_on(self, form: str, database: str) -> None:
        """Stop it, and start another one in its place."""
        assert self.system.command.stop() == 0
        self.system.command = self._command(form, database).start()
        self.system.command.wait_ready()


@pytest.fixture
def stage(server: tuple[str, Path | None], api_server: Path, tmp_path: Path, database_url: str) -> Iterator[Stage]:
    stage = Stage(server[0], api_server, tmp_path, database_url)
    yield stage
    stage.system.erase()


def message(thing: Object) -> str:
    return str(condition(thing, "Ready")["message"])


def backend_is_away(system: System, pool: str) -> bool:
    return condition(system.get_pool(pool), "BackendAvailable").get("status") == "False"


def ended(system: System, claim: str) -> Object:
    return system.phase(claim, "Failed")


def test_no_secret_is_found_where_people_look(stage: Stage) -> None:
    system = stage.system
    system.command.start()
    system.command.wait_ready()
    stage.plant()
    for name in ("refuse", "echo"):
        stage.claim(f"at-{name}", name)
    stage.claim("inline", "well")
    system.claim("from-secret", "well", instructionsFrom={"secretKeyRef": {"name": "persona", "key": "text"}})
    system.bound("inline")
    system.bound("from-secret")
    stage.learn_tokens()
    for path in (stage.webhook, "wrong-webhook-secret"):
        answer = system.command.post(f"/webhooks/railway/{path}", b"no JSON")
        assert answer.status_code in {400, 404}
    for name in ("refuse", "echo"):
        assert LEFT_OUT in message(ended(system, f"at-{name}"))
    for name in ("crash", "lost"):
        system.pool_says(name, "Degraded", "True/CircuitOpen")
    for name in ("docker", "railway"):
        eventually(partial(backend_is_away, system, name))
    assert LEFT_OUT in system.get_pool("crash")["status"]["circuitBreaker"]["lastFailure"]
    sick = eventually(lambda: [event for event in system.api.all("events") if event["reason"] == "HealthCheckFailed"])
    assert all(LEFT_OUT in event["message"] for event in sick)
    system.api.delete("agentclaims", "from-secret")
    system.gone("agentclaims", "from-secret")
    stage.learn_tokens()
    eventually(lambda: "agentpool_ledger_backlog_records 0.0" in system.command.metrics(), system.command.metrics)
    assert stage.search() == []
    check_commands(stage)

    stage.go_on("readable", with_parts(stage.database, host="127.0.0.1", port=str(free_port())))
    stage.claim("without-ledger", "well")
    system.bound("without-ledger")
    stage.learn_tokens()
    eventually(lambda: "agentpool_ledger_up 0.0" in system.command.metrics(), system.command.metrics)
    eventually(lambda: any(size for size in spooled(stage.state)))
    assert stage.search() == []
    assert system.command.stop() == 0
    system.command.check_output()


def spooled(state: Path) -> list[int]:
    """The sizes of the files in which records wait."""
    return [path.stat().st_size for path in (state / "ledger").iterdir()]


def check_commands(stage: Stage) -> None:
    """What the commands of the ledger say, well and ill."""
    password = stage.canaries.new("password-of-a-person")
    broken = {
        "of nobody": f"postgresql://me:{password}@127.0.0.1:{free_port()}/x",
        "with a / in its password": f"postgresql://me:{password}/@127.0.0.1/x",
    }
    said = {}
    for what, url in broken.items():
        code, said[f"ledger claims, a URL {what}"] = run_to_end("ledger", "claims", DATABASE_URL=url)
        assert code == 1, said
    for words in (["claims", "--output", "json"], ["history", "inline"]):
        code, said[f"ledger {' '.join(words)}"] = run_to_end("ledger", *words, DATABASE_URL=stage.database)
        assert code == 0, said
    assert stage.canaries.found(said) == []


def test_the_search_finds_a_secret_by_a_part_of_it() -> None:
    canaries = Canaries()
    secret = canaries.new("key")
    assert canaries.found({"a log": "nothing"}) == []
    assert canaries.found({"a log": f"the key is {secret}"})
    assert canaries.found({"a log": f"the key is {secret[4:-7]}"})
