"""What the engine makes of orders, and what people and the world do to containers."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

from controller.errors import Refused, Transient
from controller.ports import RemoteState
from tests.contract.backend.docker_harness import DockerHarness, told
from tests.contract.backend.docker_proxy import Fault, Proxy, proxy_to
from tests.contract.backend.harness import PATIENCE, end, eventually

RUNNING, PAUSED, EXITED = RemoteState.RUNNING, RemoteState.PAUSED, RemoteState.EXITED


@pytest.fixture
def uid(containers: DockerHarness) -> str:
    return containers.installation


async def test_the_engine_runs_what_was_ordered(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    order = containers.order(
        uid,
        env={"OPENAI_API_KEY": "very-secret", "PORT": "1", "AGENT_BIND": "x", "OPENCLAW_STATE_DIR": "/x"},
        docker={
            "labels": {"team": "red", "agentpool.dev/instance-uid": "forged"},
            "addCapabilities": ["NET_BIND_SERVICE"],
            "logs": {"maxSize": "1m", "maxFiles": 2},
        },
        port=9090,
        stateDir="/var/state",
        resources={"memory": "128Mi", "cpu": "500m", "pids": 200},
    )
    await backend.launch(order)
    seen = await containers.environment(uid)
    found = await containers.inspect(uid)

    assert (seen["PORT"], seen["AGENT_BIND"], seen["OPENCLAW_STATE_DIR"]) == ("9090", "0.0.0.0", "/var/state")
    assert seen["OPENAI_API_KEY"] == "very-secret"
    assert "very-secret" not in json.dumps([found["Config"]["Labels"], found["Name"], found["Args"]])
    labels = {key: value for key, value in found["Config"]["Labels"].items() if key != "agentpool.dev/template-hash"}
    assert labels == {
        "team": "red",
        "agentpool.dev/installation": containers.installation,
        "agentpool.dev/instance-uid": uid,
        "agentpool.dev/instance": f"pool-{uid}",
        "agentpool.dev/namespace": "default",
        "agentpool.dev/pool": "pool",
    }
    host: dict[str, Any] = found["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        128 << 20,
        128 << 20,
        500_000_000,
        200,
    )
    assert (host["ReadonlyRootfs"], host["Init"], host["CapDrop"]) == (True, True, ["ALL"])
    assert [name.removeprefix("CAP_") for name in host["CapAdd"]] == ["NET_BIND_SERVICE"]
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}
    [mount] = found["Mounts"]
    assert (mount["Type"], mount["Destination"], mount["RW"]) == ("volume", "/var/state", True)
    volume = mount["Name"]
    await end(backend, uid)
    names = [each["Name"] for each in (await asyncio.to_thread(containers.engine.get, "/volumes"))["Volumes"] or []]
    assert volume not in names


async def test_a_command_of_the_template_runs_instead_of_the_image_s_own(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid, command=["python3", "-S", "-c", "print('instead')"]))

    assert b"".join([chunk async for chunk in backend.logs(uid, follow=True)]) == b"instead\n"


@pytest.mark.parametrize(("policy", "left"), [("Delete", 0), ("Retain", 1)])
async def test_a_volume_of_its_own_goes_or_stays_with_the_instance(
    containers: DockerHarness, uid: str, policy: str, left: int
) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid, volume={"onDelete": policy}))
    [volume] = await containers.volumes()
    assert volume["Name"] == f"agentpool-{uid}"
    assert volume["Labels"]["agentpool.dev/instance-uid"] == uid

    await end(backend, uid)
    assert len(await containers.volumes()) == left
    assert list(await backend.list()) == []


async def test_a_volume_that_lost_its_container_is_a_trace_and_ends_with_the_instance(
    containers: DockerHarness, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid, volume={"onDelete": "Delete"}))
    await containers.remove_containers()
    assert list(await backend.list()) == []
    monkeypatch.setattr("controller.backends.docker.inventory.TRACE_SECONDS", 0.0)

    [remote] = await backend.list()
    assert (remote.uid, remote.state, remote.message) == (uid, EXITED, "only its volume is left")
    await end(backend, uid)
    assert await containers.volumes() == []


async def test_state_that_a_person_left_behind_is_found_and_removed(
    containers: DockerHarness, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid))
    container = (await containers.inspect(uid))["Id"]
    await asyncio.to_thread(containers.engine.delete, f"/containers/{container}", force="1")
    monkeypatch.setattr("controller.backends.docker.inventory.TRACE_SECONDS", 0.0)

    assert [remote.uid for remote in await backend.list()] == [uid]
    await end(backend, uid)
    assert await containers.volumes() == []


async def test_a_container_that_was_never_started_is_a_trace_in_the_end(
    containers: DockerHarness, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await containers.make()
    labels = {"agentpool.dev/installation": containers.installation, "agentpool.dev/instance-uid": uid}
    body = {"Image": containers.image, "Labels": labels}
    await asyncio.to_thread(containers.engine.post, "/containers/create", body)
    assert list(await backend.list()) == []
    monkeypatch.setattr("controller.backends.docker.inventory.TRACE_SECONDS", 0.0)

    [remote] = await backend.list()
    assert (remote.state, remote.message) == (EXITED, "was made, but never started")
    await end(backend, uid)
    assert await containers.containers() == []


async def test_more_memory_than_allowed_is_told_as_that(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid, "greedy", resources={"memory": "48Mi"}))

    exited = await told(backend, uid, EXITED)
    assert exited.message.startswith("exceeded its memory limit of 48Mi and was killed")
    assert list(await backend.list()) == [exited]
    assert list(await (await containers.make()).list()) == [exited]


@pytest.mark.parametrize(
    ("docker", "template", "reason", "says"),
    [
        ({"network": "no-such-network"}, {}, "NetworkNotFound", "docker network create"),
        ({"network": "none"}, {}, "PortNotPublished", "publishes no ports"),
        ({"network": "host"}, {}, "PortNotPublished", "publishes no ports"),
        ({"addCapabilities": ["NONSENSE"]}, {}, "InvalidContainer", "addCapabilities"),
        ({"init": False}, {"command": ["no-such-program"]}, "InvalidContainer", "no such program"),
        ({"init": False}, {"command": ["/"]}, "InvalidContainer", "cannot be executed"),
        ({}, {"resources": {"memory": "1000"}}, "MemoryTooLow", "template.resources.memory"),
        ({}, {"resources": {"cpu": "4000"}}, "InvalidContainer", "template.resources.cpu"),
        ({"publishAddress": "203.0.113.7"}, {}, "PortNotPublished", "publishAddress"),
        ({}, {"stateDir": "/.."}, "InvalidContainer", "destination"),
    ],
    ids=[
        "no network",
        "network none",
        "network host",
        "capability",
        "no program",
        "a directory",
        "memory",
        "cpu",
        "address",
        "state in the root",
    ],
)
async def test_what_the_engine_cannot_run_is_refused_and_leaves_nothing(
    containers: DockerHarness, uid: str, docker: dict[str, Any], template: dict[str, Any], reason: str, says: str
) -> None:
    backend = await containers.make()
    with pytest.raises(Refused, match=says) as caught:
        await backend.launch(containers.order(uid, docker=docker, **template))

    assert caught.value.reason == reason
    assert await containers.containers() == []


async def test_a_network_that_publishes_nothing_is_refused_with_a_remedy(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    name = f"test-{uid}"
    made = await asyncio.to_thread(containers.engine.post, "/networks/create", {"Name": name, "Internal": True})
    try:
        with pytest.raises(Refused, match="not internal") as caught:
            await backend.launch(containers.order(uid, docker={"network": name}))
        assert caught.value.reason == "PortNotPublished"
        assert await containers.containers() == []
    finally:
        await asyncio.to_thread(containers.engine.delete, f"/networks/{made['Id']}")


async def test_a_port_that_something_else_has_is_passed_over(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    remote = await backend.launch(containers.order(f"{uid}-0"))
    last = int((remote.url or "").rpartition(":")[2])
    # The engine goes through the ports one after the other.
    taken = [await _listen(port) for port in range(last + 1, last + 4)]
    try:
        assert (await backend.launch(containers.order(f"{uid}-1"))).state is RUNNING
        assert await containers.count_running(f"{uid}-1") == 1
    finally:
        for server in filter(None, taken):
            server.close()


async def _listen(port: int) -> asyncio.Server | None:
    try:
        return await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
    except OSError:
        return None


async def test_a_paused_instance_ends_as_any_other(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid))
    await containers.ready(uid)
    await backend.pause(uid)
    # A grace that nobody waits for: it hears the signal, though it is frozen.
    await end(backend, uid, grace=3600.0)

    assert await containers.containers() == []


@pytest.mark.parametrize(
    ("method", "call", "says"),
    [("POST", "/kill", "cannot be killed"), ("DELETE", "", "cannot be removed")],
    ids=["kill", "removal"],
)
async def test_an_engine_that_cannot_end_an_instance_is_quoted(
    containers: DockerHarness, proxy: Proxy, uid: str, method: str, call: str, says: str
) -> None:
    backend = await containers.make(host=proxy.host)
    await backend.launch(containers.order(uid))
    proxy.rule = lambda its, path: Fault.FAIL_BEFORE if its == method and path.endswith(call) else None

    async def complaint() -> str:
        try:
            await backend.terminate(uid, grace=0.0)
        except Transient as error:
            return str(error)
        return ""

    assert f"{says}: something went wrong; see to the engine" in await eventually(complaint)
    proxy.rule = lambda its, path: None
    await end(backend, uid)
    assert await containers.containers() == []


async def test_a_program_that_init_cannot_find_is_told(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid, command=["no-such-program"]))

    assert "exited with code 127" in (await told(backend, uid, EXITED)).message


async def test_a_template_without_an_image_is_refused(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    order = containers.order(uid)
    order = replace(order, template=order.template.model_copy(update={"image": None}))
    with pytest.raises(Refused, match=r"set template\.image"):
        await backend.launch(order)


async def test_a_name_that_is_somebody_else_s_stays_theirs(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    body = {"Image": containers.image, "Labels": {"agentpool.dev/installation": "x", "agentpool.dev/instance-uid": uid}}
    containers.installations.add("x")
    theirs = await asyncio.to_thread(containers.engine.post, "/containers/create", body, name=f"agentpool-{uid}")
    with pytest.raises(Refused, match=theirs["Id"][:12]) as caught:
        await backend.launch(containers.order(uid))

    assert caught.value.reason == "NameTaken"
    assert await backend.terminate(uid, grace=0.0) is True
    assert [each["Id"] for each in await containers.containers()] == [theirs["Id"]]


async def test_a_claimed_agent_shows_its_name(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid))
    short = (await containers.inspect(uid))["Id"][:12]
    taken = f"support-ada-o-k-{short[:6]}"
    await asyncio.to_thread(
        containers.engine.post,
        "/containers/create",
        {"Image": containers.image, "Labels": {"agentpool.dev/installation": containers.installation}},
        name=taken,
    )

    remote = await backend.rename(uid, pool="Support", agent_name="Ada / Ö.K. 🐪")
    assert (await containers.inspect(uid))["Name"] == f"/support-ada-o.k-{short[:6]}"
    assert not remote.anonymous
    again = await backend.rename(uid, pool="support", agent_name="ada o k")
    assert (await containers.inspect(uid))["Name"] == f"/support-ada-o-k-{short}"
    assert again == remote


async def test_a_container_that_a_person_removes_is_told_and_forgotten(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid))
    await containers.remove_containers()

    assert (await told(backend, uid, EXITED)).message
    assert list(await backend.list()) == []


async def test_what_a_person_pauses_thaws_and_starts_again_is_told(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    remote = await backend.launch(containers.order(uid))
    container = (await containers.inspect(uid))["Id"]

    await asyncio.to_thread(containers.engine.post, f"/containers/{container}/pause")
    assert (await told(backend, uid, PAUSED)).url == remote.url
    await asyncio.to_thread(containers.engine.post, f"/containers/{container}/unpause")
    assert await told(backend, uid, RUNNING) == remote
    await containers.kill_remote(uid)
    assert (await told(backend, uid, EXITED)).url is None
    await asyncio.to_thread(containers.engine.post, f"/containers/{container}/start")

    # The engine has chosen another port.
    again = await told(backend, uid, RUNNING)
    [port] = (await containers.inspect(uid))["NetworkSettings"]["Ports"]["8080/tcp"]
    assert again.url == f"http://127.0.0.1:{port['HostPort']}"


async def test_the_output_comes_as_it_was_written(containers: DockerHarness, uid: str) -> None:
    code = "import os; [os.write(1 + n % 2, bytes([n % 256, 0, 255, 10]) * 5000) for n in range(40)]"
    backend = await containers.make()
    await backend.launch(containers.order(uid, command=["python3", "-S", "-c", code]))
    await told(backend, uid, EXITED)

    whole = b"".join([chunk async for chunk in backend.logs(uid)])
    # The engine keeps text: what is none becomes the sign for that.
    expected = b"".join((bytes([n, 0, 255, 10]) * 5000).decode(errors="replace").encode() for n in range(40))
    assert sorted(whole) == sorted(expected)
    assert b"".join([chunk async for chunk in backend.logs(uid, tail=2)]).count(b"\n") == 2


async def test_output_is_followed_until_the_container_ends(containers: DockerHarness, uid: str) -> None:
    backend = await containers.make()
    await backend.launch(containers.order(uid))
    chunks: list[bytes] = []

    async def follow() -> None:
        async for chunk in backend.logs(uid, follow=True):
            chunks.append(chunk)

    following = asyncio.create_task(follow())
    await eventually(lambda: chunks)
    assert b"".join(chunks) == b"serving\n"
    await containers.kill_remote(uid)
    async with asyncio.timeout(PATIENCE):
        await following


async def test_an_image_s_own_stop_signal_ends_it(containers: DockerHarness, uid: str) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7)); print('up', flush=True); time.sleep(600)"
    )
    image = f"agentpool-test/{uid}:1"
    containers.images.add(image)
    made = await asyncio.to_thread(containers.engine.post, "/containers/create", {"Image": containers.image})
    await asyncio.to_thread(
        containers.engine.post,
        "/commit",
        {"StopSignal": "SIGUSR1"},
        container=made["Id"],
        repo=image.partition(":")[0],
        tag="1",
    )
    await asyncio.to_thread(containers.engine.delete, f"/containers/{made['Id']}")
    backend = await containers.make()
    await backend.launch(containers.order(uid, image=image, command=["python3", "-S", "-c", code]))
    async for chunk in backend.logs(uid, follow=True):
        assert chunk == b"up\n"
        break
    # A grace that nobody waits for: only the right signal ends it.
    await end(backend, uid, grace=3600.0)


@pytest.fixture
async def proxy(containers: DockerHarness) -> AsyncIterator[Proxy]:
    async with proxy_to(containers.host) as made:
        yield made


async def test_a_list_is_two_calls_however_many_there_are(containers: DockerHarness, proxy: Proxy) -> None:
    backend = await containers.make(host=proxy.host)
    uids = [f"{containers.installation}-{number}" for number in range(6)]
    await asyncio.gather(*(backend.launch(containers.order(uid)) for uid in uids))
    await backend.pause(uids[0])
    await containers.kill_remote(uids[1])
    await backend.list()
    await told(backend, uids[1], EXITED)
    before = len(proxy.calls)

    remotes = await backend.list()
    assert len(remotes) == 6
    # One for containers and one for volumes; the exit was looked into when it was new.
    assert len(proxy.calls) - before == 2


async def test_a_launch_is_five_calls(containers: DockerHarness, proxy: Proxy, uid: str) -> None:
    # Without its events the backend makes no other calls.
    proxy.mute = True
    backend = await containers.make(host=proxy.host)
    await eventually(lambda: [call.rpartition("/")[2] for call in proxy.calls].count("volumes") == 2)
    await eventually(lambda: proxy.calls[-1].endswith("/containers/json"))
    before = len(proxy.calls)
    await backend.launch(containers.order(uid))

    # A start is repeated when the engine chose a port that something else has.
    made = [call.rpartition("/")[2] for call in proxy.calls[before:]]
    assert [call for call, _ in groupby(made)] == ["json", "create", "json", "start", "json"]
