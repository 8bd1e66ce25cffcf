"""Calls whose answer is lost, controllers that die between two calls: never two containers, never a lost one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from itertools import count

import pytest

from controller.backends.docker import DockerBackend
from controller.errors import AgentpoolError, Transient
from controller.ports import Remote, RemoteState
from tests.contract.backend.docker_harness import DockerHarness, follow, told
from tests.contract.backend.docker_proxy import Fault, Proxy, proxy_to
from tests.contract.backend.harness import end, eventually

RUNNING, EXITED = RemoteState.RUNNING, RemoteState.EXITED


@pytest.fixture
async def proxy(containers: DockerHarness) -> AsyncIterator[Proxy]:
    """A way to the engine that can be disturbed."""
    async with proxy_to(containers.host) as made:
        yield made


def die_at(proxy: Proxy, number: int, fault: Fault) -> None:
    """From that call on nothing more gets to the engine; the call itself does, when the cut is after."""
    first = len(proxy.calls)

    def rule(method: str, path: str) -> Fault | None:
        if len(proxy.calls) - first < number:
            return None
        proxy.down = True
        return fault

    proxy.rule = rule


async def freeze(backend: DockerBackend, uid: str) -> None:
    """Pause until it is done, as the controller does: on a busy host the engine may fail to freeze what runs."""

    async def frozen() -> bool:
        with suppress(Transient):
            await backend.pause(uid)
            return True
        return False

    await eventually(frozen)


async def calm(containers: DockerHarness, uid: str) -> None:
    """Nothing of an instance exists."""
    assert await containers.containers(uid) == []


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=["unheard", "done"])
@pytest.mark.parametrize("named", [False, True], ids=["anonymous state", "named volume"])
async def test_a_controller_that_dies_at_any_call_of_a_launch_leaves_what_its_successor_can_use(
    containers: DockerHarness, proxy: Proxy, fault: Fault, named: bool
) -> None:
    volume = {"onDelete": "Delete"} if named else None
    for number in count(1):
        uid = f"{containers.installation}-{number}"
        doomed = await containers.make(host=proxy.host)
        die_at(proxy, number, fault)
        done = False
        try:
            await doomed.launch(containers.order(uid, volume=volume))
            done = not proxy.down
        except AgentpoolError:
            assert proxy.down
        before = [each["Id"] for each in await containers.containers(uid)]
        assert len(before) <= 1

        successor = await containers.make()
        remote = await successor.launch(containers.order(uid, volume=volume))
        assert remote.state is RUNNING
        [after] = [each["Id"] for each in await containers.containers(uid)]
        assert before in ([], [after])
        await end(successor, uid)
        await calm(containers, uid)
        await doomed.close()
        await successor.close()
        proxy.down = False
        if done:
            break
    assert number > 4
    assert await containers.volumes() == []


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=["unheard", "done"])
@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
async def test_an_end_that_is_cut_off_at_any_call_is_completed_by_the_successor(
    containers: DockerHarness, proxy: Proxy, fault: Fault, paused: bool
) -> None:
    helper = await containers.make()
    for number in count(1):
        uid = f"{containers.installation}-{number}"
        await helper.launch(containers.order(uid, volume={"onDelete": "Delete"}))
        if paused:
            await freeze(helper, uid)
            assert await containers.is_frozen(uid)
        doomed = await containers.make(host=proxy.host)
        die_at(proxy, number, fault)
        try:
            await end(doomed, uid)
        except AgentpoolError:
            assert proxy.down
        done = not proxy.down
        await doomed.close()

        await end(helper, uid)
        await calm(containers, uid)
        assert await containers.volumes() == []
        proxy.down = False
        if done:
            break
    assert number > 4


async def test_a_kill_that_an_engine_took_to_its_grave_is_ordered_again_however_long_ago_it_was(
    containers: DockerHarness, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.backends.docker.endings.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("controller.backends.docker.endings.KILL_SECONDS", 0.0)
    backend = await containers.make(host=proxy.host)
    uid = containers.installation
    await backend.launch(containers.order(uid))
    kills = count(1)
    proxy.rule = lambda method, path: Fault.FORGET if path.endswith("/kill") and next(kills) <= 6 else None

    async def over() -> bool:
        with suppress(Transient):
            return await backend.terminate(uid, grace=0.0)
        return False

    await eventually(over)
    assert next(kills) > 6
    await calm(containers, uid)


@pytest.mark.parametrize("what", ["/containers/", "/volumes/"], ids=["container", "volume"])
async def test_what_is_not_found_when_it_is_to_be_removed_is_gone_only_if_it_is_not_listed_either(
    containers: DockerHarness, proxy: Proxy, what: str
) -> None:
    backend = await containers.make(host=proxy.host)
    uid = containers.installation
    await backend.launch(containers.order(uid, volume={"onDelete": "Delete"}))
    misses, told = count(1), list[str]()

    def rule(method: str, path: str) -> Fault | None:
        return Fault.STRAY if method == "DELETE" and what in path and next(misses) <= 3 else None

    proxy.rule = rule

    async def over() -> bool:
        try:
            return await backend.terminate(uid, grace=0.0)
        except Transient as error:
            told.append(str(error))
            return False

    await eventually(over)
    await calm(containers, uid)
    assert await containers.volumes() == []
    assert all("is listed, and not found" in sentence for sentence in told)


@pytest.mark.parametrize("fault", [Fault.CUT_AFTER, Fault.FAIL_AFTER], ids=["cut", "500"])
@pytest.mark.parametrize("call", ["/containers/create", "/start"], ids=["create", "start"])
async def test_a_call_that_was_done_without_an_answer_is_found_done(
    containers: DockerHarness, proxy: Proxy, call: str, fault: Fault
) -> None:
    backend = await containers.make(host=proxy.host)
    uid = containers.installation
    proxy.fault_once("POST", call, fault)

    remote = await backend.launch(containers.order(uid))
    assert remote.state is RUNNING
    assert list(await backend.list()) == [remote]
    assert await containers.count_running(uid) == 1


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.FAIL_BEFORE], ids=["cut", "500"])
@pytest.mark.parametrize("call", ["/containers/create", "/start"], ids=["create", "start"])
async def test_a_call_that_was_lost_is_made_again_by_the_next_launch(
    containers: DockerHarness, proxy: Proxy, call: str, fault: Fault
) -> None:
    backend = await containers.make(host=proxy.host)
    uid = containers.installation
    proxy.fault_once("POST", call, fault)

    with pytest.raises(Transient):
        await backend.launch(containers.order(uid))
    # It may be launched again: no picture of the backend says that it exists.
    assert list(await backend.list()) == []
    assert (await backend.launch(containers.order(uid))).state is RUNNING
    assert await containers.count_running(uid) == 1


async def test_a_container_that_is_listed_before_it_can_be_started_is_started_a_moment_later(
    containers: DockerHarness, proxy: Proxy
) -> None:
    """As when another controller makes it right now: a busy engine answers 404 for a while."""
    backend = await containers.make(host=proxy.host)
    uid = containers.installation
    misses = count(1)
    proxy.rule = lambda method, path: Fault.MISS if path.endswith("/start") and next(misses) <= 3 else None

    assert (await backend.launch(containers.order(uid))).state is RUNNING
    assert await containers.count_running(uid) == 1


async def test_a_container_that_goes_while_it_is_started_is_made_anew_by_the_next_launch(
    containers: DockerHarness, proxy: Proxy
) -> None:
    backend = await containers.make(host=proxy.host)
    uid = containers.installation

    def rule(method: str, path: str) -> Fault | None:
        if not path.endswith("/start"):
            return None
        proxy.rule = lambda method, path: None
        containers.engine.delete(f"/containers/{path.split('/')[-2]}", force="1")
        return None

    proxy.rule = rule
    with pytest.raises(Transient, match="has it no more"):
        await backend.launch(containers.order(uid))

    assert (await backend.launch(containers.order(uid))).state is RUNNING


@pytest.mark.parametrize("fault", [Fault.HANG_BEFORE, Fault.HANG_AFTER], ids=["unheard", "done"])
@pytest.mark.parametrize("call", ["/containers/create", "/start"], ids=["create", "start"])
async def test_a_call_that_hangs_is_given_up_and_leads_to_one_container(
    containers: DockerHarness, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, call: str, fault: Fault
) -> None:
    monkeypatch.setattr("controller.backends.docker.launches.CREATE_SECONDS", 0.5)
    monkeypatch.setattr("controller.backends.docker.launches.START_SECONDS", 0.5)
    backend = await containers.make(host=proxy.host)
    uid = containers.installation
    proxy.fault_once("POST", call, fault)
    with suppress(Transient):
        await backend.launch(containers.order(uid))

    monkeypatch.undo()
    assert (await backend.launch(containers.order(uid))).state is RUNNING
    assert len(await containers.containers(uid)) == 1
    assert await containers.count_running(uid) == 1


async def test_a_creation_that_comes_late_makes_no_second_instance(containers: DockerHarness, proxy: Proxy) -> None:
    slow, backend = await containers.make(host=proxy.host), await containers.make()
    uid = containers.installation
    proxy.fault_once("POST", "/containers/create", Fault.HOLD)
    with pytest.raises(Transient):
        await slow.launch(containers.order(uid))
    await backend.launch(containers.order(uid))
    named = await backend.rename(uid, pool="pool", agent_name="Ada")
    proxy.release.set()
    # A second one is made; who looks meanwhile may remove it before it is seen here.
    assert await asyncio.gather(*proxy.held) == [201]

    async def alone() -> bool:
        # The engine may be at the second one still: then the next look removes it.
        assert list(await backend.list()) == [named]
        return [each["Id"][:12] for each in await containers.containers(uid)] == [named.backend_id]

    await eventually(alone)
    assert await slow.launch(containers.order(uid)) == named


async def test_a_late_second_container_is_never_started_by_a_launch(containers: DockerHarness, proxy: Proxy) -> None:
    slow, backend = await containers.make(host=proxy.host), await containers.make()
    uid = containers.installation
    proxy.fault_once("POST", "/containers/create", Fault.HOLD)
    with pytest.raises(Transient):
        await slow.launch(containers.order(uid))
    await backend.launch(containers.order(uid))
    named = await backend.rename(uid, pool="pool", agent_name="Ada")
    proxy.release.set()
    await asyncio.wait(proxy.held)

    assert await backend.launch(containers.order(uid)) == named
    assert await containers.count_running(uid) == 1
    await end(backend, uid)
    await calm(containers, uid)


async def test_both_containers_of_one_instance_end(containers: DockerHarness, proxy: Proxy) -> None:
    slow, backend = await containers.make(host=proxy.host), await containers.make()
    uid = containers.installation
    proxy.fault_once("POST", "/containers/create", Fault.HOLD)
    with pytest.raises(Transient):
        await slow.launch(containers.order(uid))
    await backend.launch(containers.order(uid))
    await backend.rename(uid, pool="pool", agent_name="Ada")
    proxy.release.set()
    await asyncio.wait(proxy.held)

    await end(backend, uid)
    await calm(containers, uid)


@pytest.mark.parametrize("what", ["pause", "unpause", "rename"])
@pytest.mark.parametrize("fault", [Fault.CUT_AFTER, Fault.FAIL_AFTER], ids=["cut", "500"])
async def test_a_change_that_was_done_without_an_answer_is_found_done_when_asked_for_again(
    containers: DockerHarness, proxy: Proxy, what: str, fault: Fault
) -> None:
    backend = await containers.make(host=proxy.host)
    uid = containers.installation
    await backend.launch(containers.order(uid))
    if what == "unpause":
        await freeze(backend, uid)
    proxy.fault_once("POST", f"/{what}", fault)

    def work() -> Awaitable[Remote]:
        if what == "rename":
            return backend.rename(uid, pool="pool", agent_name="Ada")
        return backend.pause(uid) if what == "pause" else backend.resume(uid)

    try:
        remote = await work()
    except Transient:
        remote = await work()
    [container] = await containers.containers(uid)
    assert container["State"] == ("paused" if what == "pause" else "running")
    assert remote.anonymous == (what != "rename")


async def test_no_event_is_lost_with_the_connection(containers: DockerHarness, proxy: Proxy) -> None:
    backend = await containers.make(host=proxy.host)
    uids = [f"{containers.installation}-{number}" for number in range(6)]
    await asyncio.gather(*(backend.launch(containers.order(uid)) for uid in uids))
    exits: set[str] = set()

    def take(remote: Remote) -> None:
        if remote.state is EXITED:
            exits.add(remote.uid)

    following = asyncio.create_task(follow(backend, take))
    for uid in uids:
        proxy.cut_streams()
        await containers.kill_remote(uid)
    try:
        await eventually(lambda: exits == set(uids))
    finally:
        following.cancel()


async def test_a_stream_that_falls_silent_is_noticed(
    containers: DockerHarness, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over a connection of which only one side is left: it is open, and nothing ever comes."""
    monkeypatch.setattr("controller.backends.docker.events.SILENCE_SECONDS", 0.3)
    proxy.mute = True
    backend = await containers.make(host=proxy.host)
    uid = containers.installation
    await backend.launch(containers.order(uid))
    await containers.kill_remote(uid)
    await eventually(lambda: proxy.muted > 1)
    proxy.mute = False

    assert (await told(backend, uid, EXITED)).message
