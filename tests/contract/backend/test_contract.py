"""The promises of the Backend port, against every backend there is."""

import asyncio
import random
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import httpx
import pytest

from controller.errors import Missing, Refused
from controller.ports import Backend, Remote, RemoteState
from tests.contract.backend.harness import PATIENCE, Behaviour, Harness, end, eventually

RUNNING, PAUSED, EXITED = RemoteState.RUNNING, RemoteState.PAUSED, RemoteState.EXITED
A, B, C = (f"{letter}-{uuid.uuid4()}" for letter in "abc")
"""Uids of this run: the world of an implementation may be shared with others."""


async def states(backend: Backend) -> dict[str, RemoteState]:
    return {remote.uid: remote.state for remote in await backend.list()}


async def launch(
    backend: Backend, harness: Harness, uid: str, behaviour: Behaviour = "serve", env: Mapping[str, str] | None = None
) -> Remote:
    """Launch, and wait until it runs or has ended."""
    return await harness.settled(backend, await backend.launch(harness.order(uid, behaviour, env)))


async def next_exit(backend: Backend, uid: str) -> Remote:
    """The next change that tells of its end; before it a backend may tell how it gets on."""
    async with asyncio.timeout(PATIENCE):
        async for remote in backend.changes():
            if remote.uid == uid and remote.state is EXITED:
                return remote
    raise AssertionError("the changes ended")


async def test_nothing_exists_at_first(backend: Backend) -> None:
    assert list(await backend.list()) == []


async def test_a_launched_instance_runs_and_is_listed_as_it_was_announced(backend: Backend, harness: Harness) -> None:
    remote = await launch(backend, harness, A)

    assert (remote.uid, remote.state) == (A, RUNNING)
    assert remote.url is not None
    assert remote.namespace == harness.order(A).namespace
    assert list(await backend.list()) == [remote]
    assert await harness.count_running(A) == 1


async def test_an_instance_gets_its_order_s_environment(backend: Backend, harness: Harness) -> None:
    env = {"OPENCLAW_GATEWAY_TOKEN": "s3cret", "LINES": "two\nlines", "EMPTY": "", "ÜMLAUT": "grün"}
    remote = await launch(backend, harness, A, env=env)
    seen = await harness.environment(A)

    assert env.items() <= seen.items()
    assert seen["PORT"]
    assert seen["OPENCLAW_STATE_DIR"]
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{remote.url}/")).json() == seen


async def test_launching_again_finds_what_runs(backend: Backend, harness: Harness) -> None:
    first = await launch(backend, harness, A)

    assert await launch(backend, harness, A) == first
    assert await harness.count_running(A) == 1


async def test_launches_at_the_same_moment_make_one_remote(backend: Backend, harness: Harness) -> None:
    remotes = await asyncio.gather(*(launch(backend, harness, A) for _ in range(5)))

    assert len(set(remotes)) == 1
    assert await harness.count_running(A) == 1


async def test_launches_by_two_controllers_at_the_same_moment_make_one_remote(harness: Harness) -> None:
    controllers = [await harness.make() for _ in range(3)]
    remotes = await asyncio.gather(*(launch(controller, harness, A) for controller in controllers))

    assert len(set(remotes)) == 1
    assert await harness.count_running(A) == 1


async def test_instances_of_a_burst_are_all_different(backend: Backend, harness: Harness) -> None:
    remotes = await asyncio.gather(*(launch(backend, harness, f"{A}-{n}") for n in range(8)))

    assert len({remote.url for remote in remotes}) == 8
    assert len({remote.backend_id for remote in remotes}) == 8


async def test_a_launch_whose_caller_gave_up_leaves_one_remote_that_is_listed(
    backend: Backend, harness: Harness
) -> None:
    launching = asyncio.create_task(backend.launch(harness.order(A)))
    await asyncio.sleep(0)
    launching.cancel()
    await asyncio.wait([launching])

    assert (await launch(backend, harness, A)).state is RUNNING
    assert await states(backend) == {A: RUNNING}
    assert await harness.count_running(A) == 1


async def test_instances_live_on_when_the_controller_goes_and_the_next_one_finds_them(harness: Harness) -> None:
    first = await harness.make()
    remote = await launch(first, harness, A)
    await first.close()
    assert await harness.count_running(A) == 1

    second = await harness.make()
    assert list(await second.list()) == [remote]
    assert await launch(second, harness, A) == remote
    assert await harness.count_running(A) == 1


async def test_an_exit_is_told_and_listed_with_its_reason(backend: Backend, harness: Harness) -> None:
    await launch(backend, harness, A, "fail")
    told = await next_exit(backend, A)

    assert harness.exit_told in told.message
    assert list(await backend.list()) == [told]


async def test_a_killed_instance_is_told(backend: Backend, harness: Harness) -> None:
    await launch(backend, harness, A)
    await harness.kill_remote(A)

    assert harness.kill_told in (await next_exit(backend, A)).message


async def test_an_exit_is_told_by_a_controller_that_found_the_instance(harness: Harness) -> None:
    first = await harness.make()
    await launch(first, harness, A)
    await first.close()
    second = await harness.make()
    await harness.kill_remote(A)

    assert (await next_exit(second, A)).message


async def test_an_exit_while_no_controller_ran_is_listed(harness: Harness) -> None:
    first = await harness.make()
    await launch(first, harness, A)
    await first.close()
    await harness.kill_remote(A)

    backend = await harness.make()
    await eventually(lambda: _is_exited(backend, A))
    [remote] = await backend.list()
    assert remote.message


async def test_the_reason_of_an_exit_survives_the_controller(harness: Harness) -> None:
    first = await harness.make()
    await launch(first, harness, A, "fail")
    told = await next_exit(first, A)
    await first.close()

    assert list(await (await harness.make()).list()) == [told]


async def test_what_happens_before_changes_are_followed_is_kept(backend: Backend, harness: Harness) -> None:
    await launch(backend, harness, A, "fail")
    await eventually(lambda: _is_exited(backend, A))

    assert (await next_exit(backend, A)).message


async def test_changes_can_be_followed_again_after_they_were_left(backend: Backend, harness: Harness) -> None:
    await launch(backend, harness, A, "fail")
    await next_exit(backend, A)
    await launch(backend, harness, B, "fail")

    assert (await next_exit(backend, B)).message


async def test_an_exited_instance_is_never_started_again(backend: Backend, harness: Harness) -> None:
    await launch(backend, harness, A)
    await harness.kill_remote(A)
    await eventually(lambda: _is_exited(backend, A))

    assert (await launch(backend, harness, A)).state is EXITED
    assert await harness.count_running(A) == 0


@pytest.mark.parametrize("uid", ["never-heard-of", "../escape", ""], ids=["unknown", "a path", "empty"])
async def test_what_does_not_exist_is_gone(backend: Backend, uid: str) -> None:
    assert await backend.terminate(uid, grace=60.0) is True


async def test_a_terminated_instance_leaves_nothing(backend: Backend, harness: Harness) -> None:
    await launch(backend, harness, A)
    await launch(backend, harness, B)
    await end(backend, A, grace=60.0)

    assert await harness.count_running(A) == 0
    assert await states(backend) == {B: RUNNING}
    assert await backend.terminate(A, grace=60.0) is True


async def test_an_exited_instance_is_terminated_too(backend: Backend, harness: Harness) -> None:
    await launch(backend, harness, A, "fail")
    await eventually(lambda: _is_exited(backend, A))
    await end(backend, A, grace=60.0)

    assert await states(backend) == {}


async def test_an_instance_that_does_not_listen_gets_its_grace_and_is_then_forced(
    backend: Backend, harness: Harness
) -> None:
    await launch(backend, harness, A, "stubborn")
    await harness.ready(A)
    if not harness.asks:
        # How long it is given was said at its launch, and is kept by the backend.
        await end(backend, A, grace=3600.0)
        await eventually(lambda: _none_runs(harness, A))
        return

    # Asking does not wait for the grace period: else this line would take the patience of the whole suite.
    assert [await backend.terminate(A, grace=3600.0) for _ in range(3)] == [False] * 3
    assert await harness.count_running(A) == 1
    await end(backend, A, grace=0.3)
    assert await harness.count_running(A) == 0


async def test_an_end_that_was_begun_goes_on_after_a_restart(harness: Harness) -> None:
    first = await harness.make()
    await launch(first, harness, A, "stubborn")
    await harness.ready(A)
    assert await first.terminate(A, grace=0.5) is False
    await first.close()
    second = await harness.make()
    await end(second, A, grace=0.5)

    assert await harness.count_running(A) == 0
    assert await states(second) == {}


async def test_the_completion_of_an_end_is_told(backend: Backend, harness: Harness) -> None:
    await launch(backend, harness, A, "stubborn")
    await harness.ready(A)
    await backend.terminate(A, grace=0.3)

    async with asyncio.timeout(PATIENCE):
        async for remote in backend.changes():
            if remote.uid == A and await harness.count_running(A) == 0:
                break
    await end(backend, A, grace=0.3)
    assert await states(backend) == {}


async def test_another_installation_s_instances_are_not_seen_nor_touched(harness: Harness) -> None:
    ours, theirs = await harness.make(), await harness.make("another-installation")
    await launch(theirs, harness, A)

    assert await states(ours) == {}
    assert await ours.terminate(A, grace=0.0) is True
    assert await harness.count_running(A) == 1
    assert await states(theirs) == {A: RUNNING}


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_the_list_tells_what_exists(harness: Harness, seed: int) -> None:
    """Launches, deaths, ends and restarts in a random order, against a model that is a dictionary."""
    dice = random.Random(seed)
    backend = await harness.make()
    expected: dict[str, RemoteState] = {}
    for _ in range(14):
        uid = dice.choice([A, B, C])
        match dice.choice(["launch", "launch", "die", "end", "restart"]):
            case "launch":
                expected.setdefault(uid, RUNNING)
                assert (await launch(backend, harness, uid)).state is expected[uid]
            case "die" if expected.get(uid) is RUNNING:
                await harness.kill_remote(uid)
                expected[uid] = EXITED
                await eventually(partial(_is_exited, backend, uid))
            case "end":
                await end(backend, uid)
                expected.pop(uid, None)
            case "restart":
                await backend.close()
                backend = await harness.make()
        assert await states(backend) == expected
        for each in (A, B, C):
            assert await harness.count_running(each) == (expected.get(each) is RUNNING)


async def _none_runs(harness: Harness, uid: str) -> bool:
    return await harness.count_running(uid) == 0


async def _is_exited(backend: Backend, uid: str) -> bool:
    return (await states(backend)).get(uid) is EXITED


async def test_a_paused_instance_is_frozen_until_it_is_resumed(backend: Backend, harness: Harness) -> None:
    remote = await launch(backend, harness, A)
    await harness.ready(A)
    if not harness.pauses:
        with pytest.raises(Refused, match="cannot pause"):
            await backend.pause(A)
        assert await backend.resume(A) == remote
        return

    paused = await backend.pause(A)
    assert (paused.state, paused.url) == (PAUSED, remote.url)
    assert await harness.is_frozen(A)
    assert await backend.pause(A) == paused
    assert list(await backend.list()) == [paused]
    assert await launch(backend, harness, A) == paused

    assert await backend.resume(A) == remote
    assert not await harness.is_frozen(A)
    assert await backend.resume(A) == remote
    assert await harness.environment(A)


async def test_an_exited_instance_is_neither_paused_nor_resumed(backend: Backend, harness: Harness) -> None:
    await launch(backend, harness, A)
    await harness.kill_remote(A)
    await eventually(lambda: _is_exited(backend, A))

    if harness.pauses:
        assert (await backend.pause(A)).state is EXITED
    assert (await backend.resume(A)).state is EXITED
    assert await harness.count_running(A) == 0


async def test_a_renamed_instance_is_found_by_its_uid(harness: Harness) -> None:
    backend = await harness.make()
    remote = await launch(backend, harness, A)
    assert remote.anonymous == harness.renames

    renamed = await backend.rename(A, pool="pool", agent_name="Ägypten / 🐪")
    assert renamed == replace(remote, anonymous=False)
    assert await backend.rename(A, pool="pool", agent_name="Ägypten / 🐪") == renamed
    assert await launch(backend, harness, A) == renamed
    await backend.close()

    successor = await harness.make()
    assert list(await successor.list()) == [renamed]
    assert await harness.count_running(A) == 1
    await end(successor, A)
    assert await harness.count_running(A) == 0


async def test_what_does_not_exist_is_missing(backend: Backend) -> None:
    for work in (backend.pause(A), backend.resume(A), backend.rename(A, pool="pool", agent_name="Ada")):
        with pytest.raises(Missing):
            await work
    with pytest.raises(Missing):
        async for _ in backend.logs(A):
            pass


async def test_the_output_of_an_instance_can_be_read_while_it_runs_and_after_it_has_ended(
    backend: Backend, harness: Harness
) -> None:
    await launch(backend, harness, A, "fail")

    assert b"was refused" in b"".join([chunk async for chunk in backend.logs(A, follow=True)])
    await eventually(lambda: _is_exited(backend, A))
    assert b"was refused" in b"".join([chunk async for chunk in backend.logs(A)])
    assert b"was refused" in b"".join([chunk async for chunk in backend.logs(A, tail=1)])
    assert b"".join([chunk async for chunk in backend.logs(A, tail=0)]) == b""


async def test_another_installation_s_instances_are_neither_paused_nor_renamed_nor_read(harness: Harness) -> None:
    ours, theirs = await harness.make(), await harness.make("another-installation")
    remote = await launch(theirs, harness, A)

    for work in (ours.pause(A), ours.resume(A), ours.rename(A, pool="pool", agent_name="Ada")):
        with pytest.raises(Missing):
            await work
    with pytest.raises(Missing):
        async for _ in ours.logs(A):
            pass
    assert list(await theirs.list()) == [remote]
