"""agentpool image bake, with the real engine and the agent's image: what gets into a golden image, and what never."""

import io
import json
import secrets
import signal
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.backends.docker.address import read_address
from controller.backends.docker.bake import Bake, BakeOrder
from controller.backends.docker.engine import Engine as Connection
from controller.backends.docker.golden import forms
from controller.backends.docker.oven import Oven
from controller.model import AgentPool, BackendSpec, Template
from controller.ports import Endpoint, LaunchOrder
from controller.runtime import HttpRuntime
from tests.commands.terminal import Done, Terminal
from tests.docker.api import Engine
from tests.docker.conftest import Container, until
from tests.e2e.system import System, set_up, uid_of, unique

AGENT = "os.execvp('python', ['python', '-m', 'agent'])"
KEY = "-----BEGIN PRIVATE KEY-----\\nMC4CAQ\\n-----END PRIVATE KEY-----"
LAYS_OUT = (
    "write('cache/model.bin', 'weights'); write('yarn.lock', 'v1'); write('gateway.pid', '7'); write('logs/a', 'x')"
)
PROVISIONS = """
env = {**os.environ, 'PORT': '9999'}
agent = subprocess.Popen([sys.executable, '-m', 'agent'], env=env)
def ask(method, path, body=None):
    request = urllib.request.Request('http://127.0.0.1:9999' + path, method=method, data=body)
    request.add_header('Authorization', 'Bearer ' + os.environ['OPENCLAW_GATEWAY_TOKEN'])
    request.add_header('Content-Type', 'application/json')
    return urllib.request.urlopen(request)
for _ in range(600):
    try:
        ask('GET', '/pool/health')
        break
    except OSError:
        time.sleep(0.1)
ask('POST', '/pool/provision', b'{"agentName": "Ada", "instructions": "Be kind."}')
agent.terminate()
agent.wait()
"""


def program(code: str, then: str = AGENT) -> list[str]:
    """A command that does something in the state directory before the agent starts."""
    head = (
        "import os, pathlib, signal, subprocess, sys, time, urllib.request\n"
        "state = pathlib.Path(os.environ['OPENCLAW_STATE_DIR'])\n"
        "def write(name, content):\n"
        "    (state / name).parent.mkdir(parents=True, exist_ok=True)\n"
        "    (state / name).write_text(content)\n"
    )
    return ["python", "-c", f"{head}{code}\n{then}"]


class Kitchen:
    """Where pools are written into files and baked; everything in it bears a name of its own."""

    def __init__(self, engine: Engine, image: str, folder: Path) -> None:
        self.engine = engine
        self.image = image
        self.folder = folder
        self.pool = unique("bake")
        self.tag = f"{self.pool}/golden:1"
        self.terminal = Terminal(folder, DOCKER_HOST=engine.host)

    def file(self, *, backend: dict[str, Any] | None = None, **template: Any) -> str:
        """A pool in a file; its template has the agent's image unless another one is given."""
        spec = {
            "minIdle": 1,
            "maxTotal": 3,
            "backend": backend or {"docker": {}},
            "template": {"image": self.image, **template},
        }
        pool = {"apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": self.pool}}
        path = self.folder / f"{secrets.token_hex(3)}.yaml"
        path.write_text(yaml.safe_dump({**pool, "spec": spec}))
        return str(path)

    def bake(self, *options: str, backend: dict[str, Any] | None = None, **template: Any) -> Done:
        return self.terminal.run(*self.words(*options, backend=backend, **template))

    def words(self, *options: str, backend: dict[str, Any] | None = None, **template: Any) -> list[str]:
        return ["image", "bake", "-f", self.file(backend=backend, **template), "--tag", self.tag, *options]

    def containers(self) -> list[str]:
        filters = json.dumps({"label": [f"agentpool.dev/pool={self.pool}"]})
        return [each["Names"][0] for each in self.engine.get("/containers/json", all="1", filters=filters)]

    def images(self) -> list[str]:
        filters = json.dumps({"label": [f"agentpool.dev/pool={self.pool}"]})
        listed = self.engine.get("/images/json", all="1", filters=filters)
        return [tag for image in listed for tag in image["RepoTags"] or ["<none>"]]

    def files(self, image: str) -> dict[str, tarfile.TarInfo]:
        """What is in /data of an image, by its path."""
        with self._created(image) as container:
            content = self.engine.get_bytes(f"/containers/{container}/export")
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            return {entry.name.rstrip("/"): entry for entry in archive if f"{entry.name}/".startswith("data/")}

    def _created(self, image: str) -> "Created":
        return Created(self.engine, image)

    def remove(self) -> None:
        for name in self.containers():
            self.engine.delete(f"/containers{name}", force="1", v="1")
        for tag in self.images():
            if tag != "<none>:<none>":
                self.engine.delete(f"/images/{tag}", force="1")


class Created:
    """A container that never runs."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine = engine
        self.id = str(engine.post("/containers/create", {"Image": image})["Id"])

    def __enter__(self) -> str:
        return self.id

    def __exit__(self, *_: object) -> None:
        self.engine.delete(f"/containers/{self.id}", force="1", v="1")


@pytest.fixture
def kitchen(docker_engine: Engine, agent_image: str, tmp_path: Path) -> Iterator[Kitchen]:
    kitchen = Kitchen(docker_engine, agent_image, tmp_path)
    yield kitchen
    for process in kitchen.terminal.started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)
    kitchen.remove()


def order(kitchen: Kitchen, command: list[str], env: dict[str, str]) -> BakeOrder:
    launch = LaunchOrder(
        uid=f"bake-{secrets.token_hex(6)}",
        name="bake",
        namespace="",
        pool=kitchen.pool,
        backend=BackendSpec.model_validate({"docker": {}}),
        template=Template(image=kitchen.image, command=tuple(command)),
        env=env,
    )
    repository, _, tag = kitchen.tag.partition(":")
    return BakeOrder(launch, env, repository, tag, (), int(time.time()) + 600, "2026-01-01T00:00:00Z")


@asynccontextmanager
async def baking(kitchen: Kitchen, command: list[str], env: dict[str, str]) -> AsyncIterator[Bake]:
    """A bake whose secrets the test knows, ready to be finished."""
    engine, runtime = Connection(read_address({"DOCKER_HOST": kitchen.engine.host})), HttpRuntime()
    oven = Oven(engine, time.time)
    try:
        async with oven.bake(order(kitchen, command, env)) as bake:
            endpoint = Endpoint(bake.url, "pool", env["OPENCLAW_GATEWAY_TOKEN"])
            while not (await runtime.probe(endpoint, timeout=5)).ready:
                await bake.look()
            yield bake
    finally:
        await runtime.close()
        await oven.close()
        await engine.close()


def test_a_golden_image_holds_what_the_instance_has_laid_out_and_nothing_of_its_run(kitchen: Kitchen) -> None:
    done = kitchen.bake(command=program(LAYS_OUT))
    assert done.code == 0, done.said
    before, after = kitchen.files(kitchen.image), kitchen.files(kitchen.tag)

    assert sorted(after.keys() - before.keys()) == ["data/cache", "data/cache/model.bin", "data/yarn.lock"]
    assert {(entry.uid, entry.gid) for entry in after.values()} == {(10001, 10001)}
    assert (after["data"].mode & 0o7777, after["data/cache/model.bin"].size) == (0o700, 7)
    assert kitchen.containers() == []
    assert kitchen.images() == [kitchen.tag]
    shown = kitchen.engine.get(f"/images/{kitchen.tag}/json")
    out = done.out.decode()
    assert f"tag:   {kitchen.tag}\nimage: {shown['Id']}\n" in out
    assert "in 2 new files" in out
    assert "left out: /data/gateway.pid, /data/logs" in out
    assert f"set template.image of pool {kitchen.pool} to {kitchen.tag}" in out


def test_a_golden_image_is_configured_as_the_image_that_it_was_made_from(kitchen: Kitchen) -> None:
    """Whatever the template says of command and environment is for the pool to say again."""
    done = kitchen.bake(command=program(LAYS_OUT), env=[{"name": "PLAIN", "value": "of-the-template"}], port=9090)
    assert done.code == 0, done.said
    base, golden = (kitchen.engine.get(f"/images/{tag}/json") for tag in (kitchen.image, kitchen.tag))

    def told(config: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in config.items() if value and name not in {"Labels", "Hostname", "Image"}}

    assert told(golden["Config"]) == told(base["Config"])
    labels = golden["Config"]["Labels"]
    assert labels.items() >= base["Config"]["Labels"].items()
    assert labels["agentpool.dev/golden"] == "true"
    assert labels["agentpool.dev/baked-from"] == base["Id"]
    assert labels["agentpool.dev/pool"] == kitchen.pool
    assert labels["agentpool.dev/baked-at"].endswith("Z")
    assert "of-the-template" not in json.dumps([golden, kitchen.engine.get(f"/images/{kitchen.tag}/history")])


async def test_neither_inspect_nor_history_nor_any_layer_holds_what_the_instance_was_told(kitchen: Kitchen) -> None:
    env = {
        "OPENCLAW_GATEWAY_TOKEN": secrets.token_hex(32),
        "INSTANCE_ID": f"bake-{secrets.token_hex(6)}",
        "OPENROUTER_API_KEY": f"placeholder-{secrets.token_hex(12)}",
    }
    async with baking(kitchen, program(LAYS_OUT), env) as bake:
        await bake.check()
        await bake.finish()
    everything = [
        kitchen.engine.get_bytes(f"/images/{kitchen.tag}/json"),
        kitchen.engine.get_bytes(f"/images/{kitchen.tag}/history"),
        kitchen.engine.get_bytes(f"/images/{kitchen.tag}/get"),
    ]

    assert b"cache/model.bin" in everything[2]
    for value in env.values():
        assert not any(form in content for form in forms(value) for content in everything)


def test_secrets_of_the_pool_are_not_even_read(kitchen: Kitchen) -> None:
    """The Secret is nowhere, and there is no API server: the instance gets placeholders."""
    source = {"secretKeyRef": {"name": "keys", "key": "openrouter"}}
    check = "assert os.environ['OPENROUTER_API_KEY'].startswith('placeholder-')"
    done = kitchen.bake(command=program(check), env=[{"name": "OPENROUTER_API_KEY", "valueFrom": source}])

    assert done.code == 0, done.said


LEAKS = {
    "the token": (
        "write('auth.json', os.environ['OPENCLAW_GATEWAY_TOKEN'])",
        "/data/auth.json",
        "OPENCLAW_GATEWAY_TOKEN",
    ),
    "a secret": ("write('a/keys.env', 'K=' + os.environ['API_KEY'])", "/data/a/keys.env", "API_KEY"),
    "its own name": ("write('me', os.environ['INSTANCE_ID'])", "/data/me", "INSTANCE_ID"),
    "base64": (
        "import base64; write('b', base64.b64encode(b'x:' + os.environ['API_KEY'].encode()).decode())",
        "/data/b",
        "API_KEY",
    ),
    "a database": (
        "import sqlite3; d = sqlite3.connect(state / 'd.sqlite'); d.execute('create table t (v)'); "
        "d.execute('insert into t values (?)', (os.environ['API_KEY'],)); d.commit(); d.close()",
        "/data/d.sqlite",
        "API_KEY",
    ),
    "a link": ("os.symlink(os.environ['API_KEY'], state / 'link')", "/data/link", "API_KEY"),
    "a name": ("write(os.environ['API_KEY'], '')", "/data/placeholder-", "API_KEY"),
}


@pytest.mark.parametrize(("code", "path", "name"), LEAKS.values(), ids=LEAKS)
def test_an_instance_that_keeps_what_it_was_told_is_refused_with_the_file(
    kitchen: Kitchen, code: str, path: str, name: str
) -> None:
    source = {"secretKeyRef": {"name": "keys", "key": "k"}}
    done = kitchen.bake(command=program(code), env=[{"name": "API_KEY", "valueFrom": source}])

    assert done.code == 1
    assert f"the instance is not fit for an image: {path}" in done.said
    assert f"holds the value of {name}." in done.said
    assert done.out == b""
    assert (kitchen.containers(), kitchen.images()) == ([], [])


def test_what_it_writes_only_as_it_ends_is_looked_through_too(kitchen: Kitchen) -> None:
    farewell = """
agent = subprocess.Popen([sys.executable, '-m', 'agent'])
signal.signal(signal.SIGTERM, lambda *_: agent.terminate())
agent.wait()
write('last-words', os.environ['OPENCLAW_GATEWAY_TOKEN'])
"""
    done = kitchen.bake(command=program("", farewell))

    assert done.code == 1
    assert "/data/last-words holds the value of OPENCLAW_GATEWAY_TOKEN" in done.said
    assert (kitchen.containers(), kitchen.images()) == ([], [])


def test_an_identity_is_refused_unless_it_is_left_out_for_each_instance_to_make_its_own(kitchen: Kitchen) -> None:
    command = program(f"write('keys/agent.pem', '{KEY}'); write('cache/x', 'x')")
    refused = kitchen.bake(command=command)
    left_out = kitchen.bake("--leave-out", "keys", command=command)

    assert refused.code == 1
    assert "/data/keys/agent.pem holds a private key" in refused.said
    assert "name it with --leave-out" in refused.said
    assert left_out.code == 0, left_out.said
    assert "data/cache/x" in kitchen.files(kitchen.tag)
    assert not [name for name in kitchen.files(kitchen.tag) if "keys" in name]


def test_an_instance_that_was_provisioned_is_refused(kitchen: Kitchen) -> None:
    done = kitchen.bake(command=program(PROVISIONS))

    assert done.code == 1
    assert "the instance says that it is not clean; an image is made of an instance that nothing has ever" in done.said
    assert (kitchen.containers(), kitchen.images()) == ([], [])


def test_of_the_convos_protocol_only_an_instance_without_a_conversation_is_baked(kitchen: Kitchen) -> None:
    fresh = kitchen.bake(command=program(""), protocol="convos")
    bound = kitchen.bake(command=program(PROVISIONS), protocol="convos")

    assert fresh.code == 0, fresh.said
    assert bound.code == 1
    assert "the instance is in a conversation" in bound.said


def test_an_instance_that_does_not_end_in_order_is_refused(kitchen: Kitchen) -> None:
    killed = """
agent = subprocess.Popen([sys.executable, '-m', 'agent'])
signal.signal(signal.SIGTERM, lambda *_: (agent.kill(), os._exit(3)))
agent.wait()
"""
    done = kitchen.bake(command=program("", killed))

    assert done.code == 1
    assert "does not end in order on SIGTERM" in done.said
    assert "exited with code 3" in done.said
    assert (kitchen.containers(), kitchen.images()) == ([], [])


def test_an_instance_that_ends_before_it_is_ready_is_told_with_its_last_words(kitchen: Kitchen) -> None:
    done = kitchen.bake(command=program("print('the disk is on fire', flush=True); sys.exit(7)"))

    assert done.code == 1
    assert "ended before it was ready: it exited with code 7; last line of its log: the disk is on fire" in done.said


def test_last_words_with_a_secret_in_them_are_not_repeated(kitchen: Kitchen) -> None:
    done = kitchen.bake(command=program("print(os.environ['OPENCLAW_GATEWAY_TOKEN'], flush=True); sys.exit(7)"))

    assert done.said.rstrip().endswith("ended before it was ready: it exited with code 7")


def test_an_instance_that_is_never_ready_is_given_up_with_the_reason(kitchen: Kitchen) -> None:
    done = kitchen.bake("--timeout", "2", command=program("time.sleep(3600)"))

    assert done.code == 1
    assert "the instance was not ready within 2 s: " in done.said
    assert "or raise --timeout" in done.said
    assert kitchen.containers() == []


def test_state_in_a_volume_of_the_image_cannot_be_baked(kitchen: Kitchen) -> None:
    with Created(kitchen.engine, kitchen.image) as container:
        kitchen.engine.post("/commit", container=container, repo=kitchen.pool, tag="volume", changes="VOLUME /data")
    done = kitchen.bake(image=f"{kitchen.pool}:volume")
    kitchen.engine.delete(f"/images/{kitchen.pool}:volume", force="1")

    assert done.code == 1
    assert "the image declares /data as a volume" in done.said
    assert kitchen.containers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", [b"starting", b"waiting", b"stopping"])
def test_a_signal_ends_it_at_any_stage_and_leaves_nothing(
    kitchen: Kitchen, stage: bytes, number: signal.Signals
) -> None:
    code = "time.sleep(3600)" if stage == b"waiting" else LAYS_OUT
    baking = kitchen.terminal.start(*kitchen.words(command=program(code)))
    assert baking.stderr is not None
    while not baking.stderr.readline().startswith(stage):
        assert baking.poll() is None
    baking.send_signal(number)
    done = kitchen.terminal.end_of(baking)

    assert (done.code, done.out) == (128 + number, b"")
    assert (kitchen.containers(), kitchen.images()) == ([], [])


def test_what_a_killed_bake_left_behind_is_removed_by_the_next_one(kitchen: Kitchen) -> None:
    killed = kitchen.terminal.start(*kitchen.words(command=program("time.sleep(3600)")))
    until(kitchen.containers, "the container of the bake exists")
    killed.kill()
    killed.wait(60)
    [left] = kitchen.containers()
    done = kitchen.bake(command=program(LAYS_OUT))

    assert left.startswith("/agentpool-bake-")
    assert done.code == 0, done.said
    assert kitchen.containers() == []


async def test_a_bake_that_is_going_on_is_left_alone_by_another_one(kitchen: Kitchen) -> None:
    env = {"OPENCLAW_GATEWAY_TOKEN": secrets.token_hex(32), "INSTANCE_ID": "bake-x-going-on"}
    async with baking(kitchen, [], env) as bake:
        engine = Connection(read_address({"DOCKER_HOST": kitchen.engine.host}))
        await Oven(engine, time.time).sweep()
        await engine.close()
        await bake.look()
        assert len(kitchen.containers()) == 1

    assert kitchen.containers() == []


async def test_a_bake_that_cannot_be_seen_from_here_is_removed_after_its_deadline_only(kitchen: Kitchen) -> None:
    engine = Connection(read_address({"DOCKER_HOST": kitchen.engine.host}))
    body = {"Image": kitchen.image, "Labels": {"agentpool.dev/pool": kitchen.pool, "agentpool.dev/bake-owner": "x 1 1"}}
    kitchen.engine.post("/containers/create", body, name="agentpool-bake-2000000000-0123456789ab")
    try:
        await Oven(engine, lambda: 1_999_999_999.0).sweep()
        before = kitchen.containers()
        await Oven(engine, lambda: 2_000_000_001.0).sweep()
    finally:
        await engine.close()

    assert before == ["/agentpool-bake-2000000000-0123456789ab"]
    assert kitchen.containers() == []


async def test_an_instance_is_never_taken_for_a_bake_whatever_it_is_called(kitchen: Kitchen) -> None:
    engine = Connection(read_address({"DOCKER_HOST": kitchen.engine.host}))
    body = {"Image": kitchen.image, "Labels": {"agentpool.dev/pool": kitchen.pool, "agentpool.dev/instance-uid": "u"}}
    kitchen.engine.post("/containers/create", body, name="agentpool-bake-1000000000-0123456789ab")
    try:
        await Oven(engine, time.time).sweep()
    finally:
        await engine.close()

    assert kitchen.containers() == ["/agentpool-bake-1000000000-0123456789ab"]


MISTAKES: dict[str, tuple[Callable[[Kitchen], list[str]], str]] = {
    "no pool": (lambda k: ["--tag", k.tag], "name the pool, or the file that holds it with -f"),
    "no file": (lambda k: ["-f", "/none", "--tag", k.tag], "/none cannot be read: No such file or directory"),
    "no YAML": (lambda k: ["-f", _text(k, "a: ["), "--tag", k.tag], "is no YAML"),
    "another kind": (lambda k: ["-f", _text(k, "kind: Pod"), "--tag", k.tag], "holds no AgentPool"),
    "not a pool": (lambda k: ["-f", _text(k, "kind: AgentPool\nspec: {}"), "--tag", k.tag], "spec."),
    "another name": (lambda k: ["x", "-f", k.file(), "--tag", k.tag], "holds 1 AgentPools, 0 of them named x"),
    "processes": (lambda k: ["-f", k.file(backend={"process": {}}), "--tag", k.tag], "it needs backend.docker"),
    "its own image": (lambda k: ["-f", k.file(), "--tag", k.image], "give the golden image another --tag"),
    "no tag": (lambda k: ["-f", k.file(), "--tag", "Not A Tag"], "--tag takes NAME[:TAG]"),
    "no image": (
        lambda k: ["-f", k.file(backend={"docker": {"pullPolicy": "Never"}}, image="none:1"), "--tag", k.tag],
        "the engine has no image none:1",
    ),
    "no network": (
        lambda k: ["-f", k.file(backend={"docker": {"network": "none"}}), "--tag", k.tag],
        "the network none publishes no ports",
    ),
}


def _text(kitchen: Kitchen, text: str) -> str:
    path = kitchen.folder / "text"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("words", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    kitchen: Kitchen, words: Callable[[Kitchen], list[str]], sentence: str
) -> None:
    done = kitchen.terminal.run("image", "bake", *words(kitchen))

    assert done.code == 1
    assert sentence in done.said
    assert done.said.count("\n") <= 2, "the sentence, and that it was starting"
    assert kitchen.containers() == []


def test_an_engine_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    spec = {"minIdle": 1, "maxTotal": 1, "backend": {"docker": {}}, "template": {"image": "x"}}
    pool.write_text(yaml.safe_dump({"kind": AgentPool.kind_name, "metadata": {"name": "p"}, "spec": spec}))
    done = Terminal(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/none").run("image", "bake", "-f", str(pool), "--tag", "y")

    assert done.code == 1
    assert "does not answer: start it, or set DOCKER_HOST" in done.said


@pytest.fixture
def operator(docker_host: str, tmp_path: Path) -> Iterator[System]:
    """An operator with the docker backend, on an API server of its own."""
    system = set_up("standalone", tmp_path, None, AGENTPOOL_BACKENDS="docker", DOCKER_HOST=docker_host)
    yield system
    try:
        system.remove("")
        until(lambda: not system.api.all("agentinstances"), "every instance has ended")
        system.command.check_output()
    finally:
        system.erase()


def test_instances_of_one_golden_image_are_claimed_and_share_no_identity(kitchen: Kitchen, operator: System) -> None:
    """Baked from the pool that the API server has; two claims get what was laid out, and nothing of each other."""
    template = {"image": kitchen.image, "command": program(LAYS_OUT)}
    operator.pool(kitchen.pool, backend={"docker": {}}, template=template, minIdle=0, maxTotal=4)
    kubeconfig = str(operator.api.kubeconfig)
    where = ("-n", operator.api.namespace, "--kubeconfig", kubeconfig)
    done = kitchen.terminal.run("image", "bake", kitchen.pool, *where, "--tag", kitchen.tag)
    assert done.code == 0, done.said
    golden = operator.pool(unique("golden"), backend={"docker": {}}, template={"image": kitchen.tag}, minIdle=2)
    operator.warm(golden, 2)
    claims = [operator.claim(unique("claim"), golden) for _ in range(2)]
    bound = [operator.bound(claim) for claim in claims]
    containers = [
        Container(kitchen.engine, _container(kitchen.engine, uid_of(operator.instance_of(claim)))) for claim in claims
    ]

    def told(*command: str) -> list[str]:
        outcomes = [container.run(*command) for container in containers]
        assert [code for code, _ in outcomes] == [0, 0], outcomes
        return [output for _, output in outcomes]

    assert len({claim["status"]["conversationId"] for claim in bound}) == 2
    assert len({claim["status"]["inviteUrl"] for claim in bound}) == 2
    read = "import sys; sys.stdout.write(open(sys.argv[1]).read())"
    assert len(set(told("python", "-c", read, "/data/loopback/identity.key"))) == 2
    assert len({json.loads(text)["inbox_id"] for text in told("python", "-c", read, "/data/loopback/state.json")}) == 2
    assert told("python", "-c", read, "/data/cache/model.bin") == ["weights", "weights"]
    write = "import pathlib; pathlib.Path('/data/cache/more').write_text('x')"
    assert told("python", "-c", write) == ["", ""], "what the image had is the agent's own in the volume"
    env = [kitchen.engine.get(f"/containers/{each.id}/json")["Config"]["Env"] for each in containers]
    tokens = [[entry for entry in entries if entry.startswith("OPENCLAW_GATEWAY_TOKEN=")] for entries in env]
    assert [len(each) for each in tokens] == [1, 1]
    assert tokens[0] != tokens[1]


def _container(engine: Engine, uid: str) -> str:
    filters = json.dumps({"label": [f"agentpool.dev/instance-uid={uid}"]})
    [found] = engine.get("/containers/json", filters=filters)
    return str(found["Id"])
