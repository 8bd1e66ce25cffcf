"""What the railway backend makes of an environment that others use, too, and of what people do there."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import pytest

from controller.backends.railway.backend import RailwayBackend
from controller.backends.railway.names import labels
from controller.errors import AgentpoolError, Barred, Missing, Refused, Transient
from controller.ports import Remote, RemoteState
from tests.contract.backend.harness import PATIENCE, end, eventually
from tests.contract.backend.railway_harness import IMAGE, RailwayHarness
from tests.railway import Fault, Settings, Twin

UID = str(uuid.uuid4())


@pytest.fixture
async def twin() -> AsyncIterator[Twin]:
    async with Twin(settings=Settings(draining=0.2)) as each:
        yield each


@pytest.fixture
async def railway(twin: Twin) -> AsyncIterator[RailwayHarness]:
    world = RailwayHarness(twin)
    yield world
    await world.close()


@pytest.fixture
async def backend(railway: RailwayHarness) -> RailwayBackend:
    return await railway.make()


async def launch(world: RailwayHarness, backend: RailwayBackend, uid: str = UID, **order: Any) -> Remote:
    return await world.settled(backend, await backend.launch(world.order(uid, **order)))


async def listed(backend: RailwayBackend, uid: str = UID) -> Remote | None:
    return next((remote for remote in await backend.list() if remote.uid == uid), None)


# Requests.


@pytest.mark.parametrize(("template", "mutations"), [({}, 3), ({"volume": {}}, 4)], ids=["plain", "with a volume"])
async def test_a_creation_takes_few_mutations_and_one_deployment(
    railway: RailwayHarness, backend: RailwayBackend, template: dict[str, Any], mutations: int
) -> None:
    await launch(railway, backend, **template)
    [service] = railway.services(UID)

    assert railway.twin.counts.mutations[service].total() == mutations
    assert railway.twin.counts.deployments[service] == 1
    assert railway.twin.counts.unidentified == 0


@pytest.mark.parametrize("instances", [1, 6])
async def test_a_look_at_an_environment_is_one_request_however_many_there_are(
    twin: Twin, railway: RailwayHarness, backend: RailwayBackend, instances: int
) -> None:
    for number in range(instances):
        await launch(railway, backend, f"{UID}-{number}")
    await railway.stop_looking()
    before = twin.counts.total
    await backend.list()

    assert twin.counts.total - before == 1


async def test_looks_at_the_same_moment_are_one(twin: Twin, railway: RailwayHarness, backend: RailwayBackend) -> None:
    await launch(railway, backend)
    await railway.stop_looking()
    before = twin.counts.requests["Environment"]
    await asyncio.gather(*(backend.list() for _ in range(20)))

    # One for whoever came first, at most one more for those who came while it was under way.
    assert twin.counts.requests["Environment"] - before <= 2


async def test_an_environment_is_read_page_by_page(
    twin: Twin, railway: RailwayHarness, backend: RailwayBackend
) -> None:
    twin.settings.page = 2
    uids = {f"{UID}-{number}" for number in range(5)}
    await asyncio.gather(*(backend.launch(railway.order(uid, volume={})) for uid in uids))

    assert {remote.uid for remote in await backend.list()} == uids
    await asyncio.gather(*(end(backend, uid) for uid in uids))
    assert await backend.list() == ()


async def test_a_successor_knows_claimed_ones_by_their_labels_with_one_more_request(
    twin: Twin, railway: RailwayHarness, backend: RailwayBackend
) -> None:
    for number in range(3):
        await launch(railway, backend, f"{UID}-{number}")
        await backend.rename(f"{UID}-{number}", pool="pool", agent_name="Ada")
    await railway.stop_looking()
    successor = railway.connect(railway.spec(), railway.token)
    before = twin.counts.total
    remotes = await successor.list()

    assert {remote.uid for remote in remotes} == {f"{UID}-{number}" for number in range(3)}
    assert not any(remote.anonymous for remote in remotes)
    assert twin.counts.total - before <= 2


async def test_a_failed_look_changes_nothing(twin: Twin, railway: RailwayHarness, backend: RailwayBackend) -> None:
    remote = await launch(railway, backend)
    await railway.stop_looking()
    twin.faults.set(Fault.BAD_GATEWAY, 1.0)
    with pytest.raises(Transient):
        await backend.list()
    twin.faults.clear()

    assert await listed(backend) == remote


# Neighbours.


@pytest.mark.parametrize("everywhere", [False, True], ids=["in its own", "in all of them"])
async def test_three_environments_of_one_project_do_not_see_each_other(twin: Twin, everywhere: bool) -> None:
    twin.settings.create_everywhere = everywhere
    worlds = [RailwayHarness(twin, name) for name in twin.environments]
    try:
        backends = [await world.make() for world in worlds]
        for world, backend in zip(worlds, backends, strict=True):
            await launch(world, backend, f"{UID}-{world.environment_id}")
        for world, backend in zip(worlds, backends, strict=True):
            assert [remote.uid for remote in await backend.list()] == [f"{UID}-{world.environment_id}"]
        await end(backends[0], f"{UID}-{worlds[0].environment_id}")
        for world, backend in zip(worlds[1:], backends[1:], strict=True):
            [remote] = await backend.list()
            assert remote.state is RemoteState.RUNNING, world
    finally:
        for world in worlds:
            await world.close()


async def test_what_it_did_not_label_is_never_touched(
    twin: Twin, railway: RailwayHarness, backend: RailwayBackend
) -> None:
    await launch(railway, backend)
    [ours] = railway.services(UID)
    name = railway.state()["services"][ours]["name"]
    # Somebody's service that looks like one of ours, and one that does not.
    for their_name in ("postgres", name[:-1] + ("0" if name[-1] != "0" else "1")):
        await railway.ask("ServiceCreate", {"input": {
            "projectId": twin.project_id, "environmentId": railway.environment_id, "name": their_name,
            "variables": labels("another", railway.environment_id, UID),
        }})  # fmt: skip

    assert [remote.uid for remote in await backend.list()] == [UID]
    await end(backend, UID)
    left = [each["name"] for each in railway.state()["services"].values() if not each["deleted"]]
    assert len(left) == 2


# What people do.


async def test_a_service_that_a_person_deleted_is_told_and_gone(
    twin: Twin, railway: RailwayHarness, backend: RailwayBackend
) -> None:
    await launch(railway, backend)
    [service] = railway.services(UID)
    await railway.ask("ServiceDelete", {"id": service})

    async with asyncio.timeout(PATIENCE):
        async for remote in backend.changes():
            if remote.state is RemoteState.EXITED:
                break
    assert await backend.list() == ()


async def test_the_volume_of_a_service_that_a_person_deleted_goes_with_its_instance(
    railway: RailwayHarness, backend: RailwayBackend
) -> None:
    await launch(railway, backend, volume={})
    [service] = railway.services(UID)
    await railway.ask("ServiceDelete", {"id": service})
    await eventually(lambda: _message(backend, "its volume is left"))
    await end(backend, UID)

    assert railway.state()["volumes"] == {}


async def test_a_volume_that_is_to_be_kept_stays_under_a_name_that_tells_whose_it_was(
    railway: RailwayHarness, backend: RailwayBackend
) -> None:
    await launch(railway, backend, volume={"onDelete": "Retain"})
    [service] = railway.services(UID)
    name = railway.state()["services"][service]["name"]
    successor = await railway.make()
    await end(successor, UID)

    [volume] = railway.state()["volumes"].values()
    assert volume["name"] == name.replace("agent-", "kept-")
    assert await successor.list() == ()


async def test_a_changed_variable_and_source_are_told_as_drift_without_their_values(
    railway: RailwayHarness, backend: RailwayBackend
) -> None:
    await launch(railway, backend, env={"KEY": "value"})
    [service] = railway.services(UID)
    patch = {"services": {service: {"variables": {"KEY": {"value": "hunter2"}}, "source": {"image": f"{IMAGE}0"}}}}
    await railway.ask("EnvironmentPatchCommit", {"environmentId": railway.environment_id, "patch": patch})
    railway.age(600.0)
    remote = await listed(backend)

    assert remote is not None
    assert remote.drift == "at Railway somebody changed variables KEY and the source"


async def test_a_status_that_nobody_knows_yet_is_unknown_and_not_dead(
    railway: RailwayHarness, backend: RailwayBackend
) -> None:
    await launch(railway, backend)
    [service] = railway.services(UID)
    railway.twin.control.force(service, "TELEPORTING")
    remote = await listed(backend)

    assert remote is not None
    assert remote.state is RemoteState.UNKNOWN
    assert "TELEPORTING" in remote.message


async def test_a_repository_is_built_from_its_branch_and_folder(
    railway: RailwayHarness, backend: RailwayBackend
) -> None:
    git = {"repo": "acme/stub-agents", "branch": "staging", "rootDirectory": "agent"}
    remote = await launch(railway, backend, image=None, git=git)

    assert remote.state is RemoteState.RUNNING


@pytest.mark.parametrize(
    "template",
    [{"image": "registry.example/missing:1"}, {"image": None, "git": {"repo": "acme/missing"}}],
    ids=["image", "repository"],
)
async def test_a_source_that_does_not_exist_is_an_exit_with_a_reason(
    railway: RailwayHarness, backend: RailwayBackend, template: dict[str, Any]
) -> None:
    remote = await launch(railway, backend, **template)

    assert remote.state is RemoteState.EXITED
    assert "failed" in remote.message
    assert b"missing" in b"".join([chunk async for chunk in backend.logs(UID)])


async def test_a_sleeper_is_told_as_one_and_wakes_by_traffic(railway: RailwayHarness, backend: RailwayBackend) -> None:
    railway.twin.settings.idle = 0.3
    await launch(railway, backend, railway={"sleepApplication": True})
    await eventually(lambda: _state(backend, RemoteState.SLEEPING))
    await railway.environment(UID)

    await eventually(lambda: _state(backend, RemoteState.RUNNING))


async def _state(backend: RailwayBackend, state: RemoteState) -> bool:
    remote = await listed(backend)
    return remote is not None and remote.state is state


async def _message(backend: RailwayBackend, words: str) -> bool:
    remote = await listed(backend)
    return remote is not None and words in remote.message


# What only a person can mend.


async def test_a_wrong_token_a_wrong_id_and_another_environment_s_token_are_told_with_the_remedy(
    twin: Twin, railway: RailwayHarness
) -> None:
    wrong = (
        (railway.spec(), "no-token-at-all", "NotAuthorized", "tokenSecretRef"),
        (railway.spec(tokenType="Account"), railway.token, "NotAuthorized", "tokenType"),
        (railway.spec(), twin.project_tokens["production"], "NotAuthorized", "environmentId"),
        (railway.spec(tokenType="Account", environmentId=str(uuid.uuid4())), twin.token, "EnvironmentNotFound", "Id"),
        (
            railway.spec(tokenType="Account", projectId=str(uuid.uuid4())),
            twin.token,
            "EnvironmentNotFound",
            "projectId",
        ),
    )
    for spec, token, reason, remedy in wrong:
        backend = railway.connect(spec, token)
        with pytest.raises(Refused, match=remedy) as caught:
            await backend.list()
        assert caught.value.reason == reason
        assert token not in str(caught.value)


@pytest.mark.parametrize("kind", ["Account", "Workspace"])
async def test_other_kinds_of_tokens_will_do(
    twin: Twin, railway: RailwayHarness, kind: Literal["Account", "Workspace"]
) -> None:
    backend = railway.connect(railway.spec(tokenType=kind), twin.issue(kind))
    await launch(railway, backend, volume={})
    await backend.rename(UID, pool="pool", agent_name="Ada")
    await end(backend, UID)

    assert railway.state()["volumes"] == {}


async def test_a_secret_that_is_not_there_is_named(railway: RailwayHarness) -> None:
    backend = railway.connect(railway.spec(), Missing("Secret railway does not exist in namespace default: create it"))
    with pytest.raises(Refused, match="Secret railway does not exist") as caught:
        await backend.list()
    assert caught.value.reason == "TokenNotFound"


async def test_a_token_that_may_only_read_bars_the_place_and_nothing_is_made(
    twin: Twin, railway: RailwayHarness
) -> None:
    backend = railway.connect(railway.spec(), twin.issue("Project", "dev", read_only=True))
    assert await backend.list() == ()
    with pytest.raises(Barred, match="does not let this token") as caught:
        await backend.launch(railway.order(UID))

    assert caught.value.reason == "NotAuthorized"
    assert twin.counts.created.total() == 0


async def test_a_plan_that_is_used_up_bars_the_place(
    twin: Twin, railway: RailwayHarness, backend: RailwayBackend
) -> None:
    twin.settings.services = 1
    await launch(railway, backend)
    with pytest.raises(Barred, match="plan") as caught:
        await backend.launch(railway.order(f"{UID}-2"))

    assert caught.value.reason == "PlanLimitReached"
    assert railway.services(f"{UID}-2") == []


async def test_a_rotated_token_is_read_anew(twin: Twin, railway: RailwayHarness, backend: RailwayBackend) -> None:
    await launch(railway, backend)
    old, railway.token = railway.token, twin.issue("Project", "dev")
    twin.access.revoke(old)

    assert await listed(backend) is not None
    await end(backend, UID)


@pytest.mark.parametrize(("plan", "requests"), [("Hobby", 10), ("Pro", 50)])
async def test_the_limits_of_a_plan_are_kept_by_all_places_of_a_token(
    twin: Twin, railway: RailwayHarness, plan: str, requests: int
) -> None:
    twin.settings.plan = plan
    provider = railway.provider()
    backends: Sequence[RailwayBackend] = [
        railway.connect(railway.spec(plan=plan), railway.token, provider=provider) for _ in range(3)
    ]

    async def look(backend: RailwayBackend) -> None:
        for _ in range(requests):
            try:
                await backend.list()
            except AgentpoolError:
                return

    await asyncio.gather(*(look(backend) for backend in backends))
    assert twin.counts.violations.total() == 0
    assert twin.counts.total >= requests


async def test_a_webhook_s_hint_brings_a_look(railway: RailwayHarness, backend: RailwayBackend) -> None:
    await launch(railway, backend)
    await railway.stop_looking()
    await railway.kill_remote(UID)
    [service] = railway.services(UID)
    await eventually(lambda: railway.state()["services"][service]["latest"]["status"] == "CRASHED")
    provider = railway.opened[0][1]
    provider.hinted(railway.twin.project_id, railway.environment_id, service)

    async with asyncio.timeout(PATIENCE):
        async for remote in backend.changes():
            if remote.state is RemoteState.EXITED:
                break


async def test_a_hint_of_another_environment_brings_none(
    twin: Twin, railway: RailwayHarness, backend: RailwayBackend
) -> None:
    await launch(railway, backend)
    await railway.stop_looking()
    before = twin.counts.total
    railway.opened[0][1].hinted(twin.project_id, twin.environments["production"].id, None)
    following = asyncio.create_task(anext(aiter(backend.changes()), None))
    await asyncio.sleep(0.2)
    following.cancel()
    await asyncio.wait([following])

    assert twin.counts.total == before
