"""Services, their names and domains, and volumes."""

import pytest

from tests.railway import Twin
from tests.railway.asking import CREATE, DELETE, RENAME, STUB, VOLUME_DELETE, Client, Failed, eventually
from tests.railway.settings import PLANS


async def test_a_service_without_a_source_is_listed_and_never_deployed(client: Client) -> None:
    service_id = await client.create("agent")
    node = await client.node(service_id)
    assert node is not None
    assert node["serviceName"] == "agent"
    assert node["source"] is None
    assert node["latestDeployment"] is None


async def test_a_service_that_is_created_with_a_source_deploys_at_once(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent", source={"image": STUB}, variables={"EARLY": "1"})
    await client.until(service_id, "SUCCESS")
    assert [boot.variables["EARLY"] for boot in twin.counts.boots] == ["1"]


async def test_two_services_of_a_project_never_have_one_name(client: Client, twin: Twin) -> None:
    await client.create("agent")
    elsewhere = {"projectId": twin.project_id, "environmentId": twin.environments["staging"].id, "name": "agent"}
    with pytest.raises(Failed, match=r'^A service named "agent" already exists in this project$') as failure:
        await client.ask(CREATE, input=elsewhere)
    assert failure.value.status == 200
    [error] = failure.value.answer["errors"]
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert error["path"] == ["serviceCreate"]
    assert error["traceId"]


async def test_a_name_is_free_again_after_its_service_was_deleted(client: Client) -> None:
    await client.ask(DELETE, id=await client.create("agent"))
    await client.create("agent")


async def test_a_name_has_32_characters_at_most(client: Client) -> None:
    service_id = await client.create("a" * 32)
    with pytest.raises(Failed, match="32 characters"):
        await client.create("b" * 33)
    with pytest.raises(Failed, match="32 characters"):
        await client.ask(RENAME, id=service_id, input={"name": "c" * 33})


async def test_renaming_to_a_name_that_is_taken_is_refused(client: Client) -> None:
    await client.create("one")
    other = await client.create("two")
    with pytest.raises(Failed, match="already exists"):
        await client.ask(RENAME, id=other, input={"name": "one"})
    await client.ask(RENAME, id=other, input={"name": "three"})
    node = await client.node(other)
    assert node is not None
    assert node["serviceName"] == "three"


async def test_without_an_environment_a_service_is_made_in_all_that_are_no_forks(client: Client, twin: Twin) -> None:
    fork = twin.world.add_environment(twin.project, "pr-1", source=twin.environments["dev"])
    created = await client.ask(CREATE, input={"projectId": twin.project_id, "name": "agent"})
    homes = {each.name for each in twin.project.environments.values() if created["id"] in each.instances}
    assert homes == {"dev", "staging", "production"}
    assert not fork.instances


@pytest.mark.parametrize("everywhere", [False, True])
async def test_with_an_environment_it_is_made_there_or_everywhere_as_reports_conflict(
    client: Client, twin: Twin, everywhere: bool
) -> None:
    twin.settings.create_everywhere = everywhere
    service_id = await client.create("agent")
    homes = {each.name for each in twin.project.environments.values() if service_id in each.instances}
    assert homes == ({"dev", "staging", "production"} if everywhere else {"dev"})


async def test_creations_are_counted_by_the_label_that_they_carry(client: Client, twin: Twin) -> None:
    await client.create("one", variables={"AGENTPOOL_LABEL_INSTANCE": "uid-1"})
    await client.create("two", variables={"AGENTPOOL_LABEL_INSTANCE": "uid-2"})
    assert twin.counts.doubles == {}
    await client.create("three", variables={"AGENTPOOL_LABEL_INSTANCE": "uid-2"})
    assert twin.counts.doubles == {"uid-2": 2}


async def test_deleting_a_service_ends_its_program_and_leaves_its_volume(client: Client, twin: Twin) -> None:
    service_id, _ = await client.launch()
    await client.add_volume(service_id)
    await client.until(service_id, "SUCCESS")
    assert await client.ask(DELETE, id=service_id, environmentId=client.environment_id)
    assert await client.nodes() == []
    assert [each["serviceId"] for each in await client.volumes()] == [None]
    deployments = twin.environments["dev"].instances[service_id].deployments
    await eventually(lambda: {each.status for each in deployments} == {"REMOVED"})
    with pytest.raises(Failed, match="Service not found"):
        await client.ask(DELETE, id=service_id)


async def test_a_volume_may_still_name_the_service_that_was_deleted(client: Client, twin: Twin) -> None:
    twin.settings.detached_volume = "old"
    service_id = await client.create("agent")
    await client.add_volume(service_id)
    await client.ask(DELETE, id=service_id)
    assert [each["serviceId"] for each in await client.volumes()] == [service_id]


@pytest.mark.parametrize("plan", ["Hobby", "Pro"])
async def test_a_plan_allows_only_so_many_volumes_detached_ones_included(client: Client, twin: Twin, plan: str) -> None:
    twin.settings.plan = plan
    made = [await client.add_volume(None) for _ in range(PLANS[plan].volumes)]
    with pytest.raises(Failed, match=f"your plan allows {len(made)} volumes"):
        await client.add_volume(None)
    await client.ask(VOLUME_DELETE, volumeId=made[0])
    await client.add_volume(None)


async def test_volumes_get_names_that_nobody_chose_and_can_be_renamed(client: Client) -> None:
    volume_id = await client.add_volume(await client.create("agent"))
    [before] = await client.volumes()
    rename = 'mutation($id: String!) { volumeUpdate(volumeId: $id, input: {name: "mine"}) { id name } }'
    assert await client.ask(rename, id=volume_id) == {"id": volume_id, "name": "mine"}
    [after] = await client.volumes()
    assert before["volume"]["name"] != after["volume"]["name"] == "mine"
    assert after["mountPath"] == "/data"


async def test_a_service_has_one_volume(client: Client) -> None:
    service_id = await client.create("agent")
    await client.add_volume(service_id)
    with pytest.raises(Failed, match="already has a volume"):
        await client.add_volume(service_id)


async def test_a_deleted_volume_may_be_pending_for_a_while(client: Client, twin: Twin) -> None:
    twin.settings.volume_deletion = 600.0
    volume_id = await client.add_volume(None)
    await client.ask(VOLUME_DELETE, volumeId=volume_id)
    assert [each["isPendingDeletion"] for each in await client.volumes()] == [True]
    twin.settings.volume_deletion = 0.01
    await client.ask(VOLUME_DELETE, volumeId=volume_id)
    await eventually(lambda: not twin.project.volumes)
    assert await client.volumes() == []


async def test_a_project_may_have_only_so_many_services(client: Client, twin: Twin) -> None:
    twin.settings.services = 1
    await client.create("one")
    with pytest.raises(Failed, match="your plan allows 1 services"):
        await client.create("two")
