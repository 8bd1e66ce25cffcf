"""Patches of an environment: what they change, and what they deploy."""

import asyncio
from typing import Any

import pytest

from tests.railway import Twin
from tests.railway.asking import COMMIT, STUB, UPDATE, UPSERT, VOLUME, Client, Failed, eventually, variables_of


async def test_one_commit_with_source_settings_and_variables_is_one_deployment(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent", variables={"LABEL": "x"})
    url = await client.add_domain(service_id)
    await client.commit(
        service_id,
        source={"image": STUB},
        deploy={"restartPolicyType": "NEVER", "limitOverride": {"containers": {"cpu": 0.5, "memoryBytes": 1 << 28}}},
        variables=variables_of(ONE="1", TWO="2"),
    )
    seen = await client.environ(url)
    assert (seen["LABEL"], seen["ONE"], seen["TWO"]) == ("x", "1", "2")
    assert twin.counts.deployments == {service_id: 1}
    assert len(twin.counts.boots) == 1
    assert twin.control.incomplete_boots() == {}
    assert twin.counts.mutations[service_id].total() == 3


async def test_every_service_that_a_commit_changes_is_deployed_once_and_no_other(client: Client, twin: Twin) -> None:
    one, two, three = [(await client.launch(name))[0] for name in ("one", "two", "three")]
    patch = {"services": {each: {"variables": variables_of(NEW="1")} for each in (one, two)}}
    await client.ask(COMMIT, environmentId=client.environment_id, patch=patch)
    assert twin.counts.deployments == {one: 2, two: 2, three: 1}


async def test_a_commit_that_changes_nothing_deploys_nothing(client: Client, twin: Twin) -> None:
    service_id, _ = await client.launch(KEY="1")
    await client.commit(service_id, source={"image": STUB}, variables=variables_of(KEY="1"))
    assert twin.counts.deployments == {service_id: 1}


async def test_a_commit_for_a_service_without_a_source_deploys_nothing(client: Client, twin: Twin) -> None:
    await client.commit(await client.create("agent"), variables=variables_of(KEY="1"))
    assert not twin.counts.deployments


async def test_null_unsets_and_what_is_absent_stays(client: Client) -> None:
    service_id = await client.create("agent")
    await client.commit(
        service_id,
        deploy={"healthcheckPath": "/", "sleepApplication": True},
        variables=variables_of(KEEP="1", DROP="2"),
    )
    await client.commit(service_id, deploy={"healthcheckPath": None}, variables={"DROP": None})
    config = await client.config(service_id)
    assert config["variables"] == variables_of(KEEP="1")
    assert "healthcheckPath" not in config["deploy"]
    assert config["deploy"]["sleepApplication"] is True


async def test_values_are_shown_only_when_they_are_decrypted(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent", variables={"KEY": "secret"})
    assert (await client.config(service_id, decrypt=False))["variables"] == {"KEY": {}}
    twin.settings.masked_value = "*****"
    assert (await client.config(service_id, decrypt=False))["variables"] == variables_of(KEY="*****")
    assert (await client.config(service_id))["variables"] == variables_of(KEY="secret")


@pytest.mark.parametrize(
    "part",
    [
        {"deploy": {"healthCheckPath": "/"}},
        {"deploy": {"restartPolicyType": "SOMETIMES"}},
        {"deploy": {"drainingSeconds": "10"}},
        {"variables": {"KEY": "plain"}},
        {"variables": {"KEY": {"value": 1}}},
        {"source": {"image": STUB, "tag": "1"}},
    ],
)
async def test_a_patch_that_makes_no_sense_is_refused_and_changes_nothing(client: Client, part: dict[str, Any]) -> None:
    service_id = await client.create("agent")
    before = await client.config(service_id)
    with pytest.raises(Failed, match="Invalid environment config at patch"):
        await client.commit(service_id, **part)
    assert await client.config(service_id) == before


async def test_what_is_no_object_is_no_patch(client: Client) -> None:
    with pytest.raises(Failed, match="an object is expected"):
        await client.ask(COMMIT, environmentId=client.environment_id, patch=["services"])


async def test_a_patch_for_a_service_that_is_not_there_is_refused(client: Client) -> None:
    with pytest.raises(Failed, match="ServiceInstance not found"):
        await client.commit("00000000-0000-4000-8000-000000000000", variables={})


async def test_a_patch_can_delete_a_service(client: Client, twin: Twin) -> None:
    service_id, _ = await client.launch()
    await client.commit(service_id, isDeleted=True)
    assert await client.nodes() == []
    [deployment] = twin.environments["dev"].instances[service_id].deployments
    await eventually(lambda: deployment.status == "REMOVED")


async def test_a_patch_can_move_a_volume(client: Client) -> None:
    one, two = await client.create("one"), await client.create("two")
    volume_id = await client.add_volume(one)
    await client.commit(two, volumeMounts={volume_id: {"mountPath": "/state"}})
    [mount] = await client.volumes()
    assert (mount["serviceId"], mount["mountPath"]) == (two, "/state")
    await client.commit(two, volumeMounts={volume_id: None})
    [mount] = await client.volumes()
    assert mount["serviceId"] is None


async def commit_both(twin: Twin, *service_ids: str) -> list[str | BaseException]:
    """Two commits of which each begins before the other ends: nothing lies between them and the twin."""
    environment = twin.environments["dev"]
    patches = [{"services": {each: {"variables": variables_of(KEY=each)}}} for each in service_ids]
    return await asyncio.gather(*(twin.commits.commit(environment, patch) for patch in patches), return_exceptions=True)


async def test_of_two_commits_at_a_time_one_is_lost(client: Client, twin: Twin) -> None:
    one, two = await client.create("one"), await client.create("two")
    await commit_both(twin, one, two)
    kept = [each for each in (one, two) if (await client.config(each))["variables"]]
    assert len(kept) == 1
    assert twin.counts.concurrent_commits == 1


async def test_of_two_commits_at_a_time_one_may_be_refused(client: Client, twin: Twin) -> None:
    twin.settings.concurrent_commits = "fail"
    outcomes = await commit_both(twin, await client.create("one"), await client.create("two"))
    [refused] = [each for each in outcomes if isinstance(each, BaseException)]
    assert str(refused).startswith("Another change to this environment is being applied")


async def test_of_two_commits_at_a_time_both_may_stand(client: Client, twin: Twin) -> None:
    twin.settings.concurrent_commits = "merge"
    one, two = await client.create("one"), await client.create("two")
    await commit_both(twin, one, two)
    for each in (one, two):
        assert (await client.config(each))["variables"] == variables_of(KEY=each)


async def test_commits_to_two_environments_do_not_disturb_each_other(client: Client, twin: Twin) -> None:
    other = Client(twin, client._http, "staging")
    one, two = await client.create("one"), await other.create("two")
    await asyncio.gather(
        client.commit(one, variables=variables_of(A="1")), other.commit(two, variables=variables_of(B="2"))
    )
    assert (await client.config(one))["variables"] == variables_of(A="1")
    assert (await other.config(two))["variables"] == variables_of(B="2")
    assert twin.counts.concurrent_commits == 0


async def test_what_else_is_done_during_a_commit_stands(client: Client, twin: Twin) -> None:
    twin.settings.committing = 0.3
    service_id = await client.create("agent")
    committing = asyncio.create_task(client.commit(service_id, variables=variables_of(KEY="1")))
    other = await client.create("other", variables={"LABEL": "x"})
    await committing
    assert (await client.config(other))["variables"] == variables_of(LABEL="x")


async def test_a_variable_that_comes_later_than_the_boot_is_found_missing(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent", source={"image": STUB})
    await eventually(lambda: twin.counts.boots)
    await client.ask(
        UPSERT,
        input={
            "projectId": twin.project_id,
            "environmentId": client.environment_id,
            "serviceId": service_id,
            "variables": {"LATE": "1"},
        },
    )
    assert twin.control.incomplete_boots() == {service_id: ["LATE"]}


async def test_an_upsert_deploys_unless_it_skips_that_and_replaces_when_told(client: Client, twin: Twin) -> None:
    service_id, _ = await client.launch(OLD="1")
    where = {"projectId": twin.project_id, "environmentId": client.environment_id, "serviceId": service_id}
    await client.ask(UPSERT, input={**where, "variables": {"NEW": "2"}, "skipDeploys": True})
    assert twin.counts.deployments == {service_id: 1}
    assert (await client.config(service_id))["variables"] == variables_of(OLD="1", NEW="2")
    await client.ask(UPSERT, input={**where, "variables": {"ONLY": "3"}, "replace": True})
    assert twin.counts.deployments == {service_id: 2}
    assert (await client.config(service_id))["variables"] == variables_of(ONLY="3")


@pytest.mark.parametrize("deploys", [False, True])
async def test_an_update_of_the_source_deploys_or_not_as_reports_conflict(
    client: Client, twin: Twin, deploys: bool
) -> None:
    twin.settings.update_deploys = deploys
    service_id = await client.create("agent")
    values = {"source": {"image": STUB}, "rootDirectory": "agent", "healthcheckPath": "/", "builder": "NIXPACKS"}
    await client.ask(UPDATE, serviceId=service_id, environmentId=client.environment_id, input=values)
    config = await client.config(service_id)
    assert config["source"] == {"image": STUB, "rootDirectory": "agent"}
    assert config["build"] == {"builder": "NIXPACKS"}
    assert config["deploy"]["healthcheckPath"] == "/"
    assert twin.counts.deployments[service_id] == int(deploys)


async def test_a_volume_without_a_word_on_the_environment_is_for_all(client: Client, twin: Twin) -> None:
    await client.ask(VOLUME, input={"projectId": twin.project_id, "mountPath": "/data"})
    assert all(len(each.mounts) == 1 for each in twin.environments.values())
    await client.ask(VOLUME, input={"projectId": twin.project_id, "mountPath": "/data", "environmentId": None})
    assert all(len(each.mounts) == 1 for each in twin.environments.values())
