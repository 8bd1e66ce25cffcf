"""Deployments: what they go through, what they start, and how they end."""

import asyncio
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.railway import Twin
from tests.railway.asking import LOGS, STUB, Client, Json, eventually, variables_of
from tests.railway.records import Deployment

REMOVE = "mutation($id: String!) { deploymentRemove(id: $id) }"
STOP = "mutation($id: String!) { deploymentStop(id: $id) }"
RESTART = "mutation($id: String!) { deploymentRestart(id: $id) }"
REDEPLOY = "mutation($id: String!) { deploymentRedeploy(id: $id) { id } }"
DEPLOY = """
mutation($serviceId: String!, $environmentId: String!) {
  serviceInstanceDeployV2(serviceId: $serviceId, environmentId: $environmentId)
}
"""


def deployments(twin: Twin, service_id: str) -> list[Deployment]:
    return twin.environments["dev"].instances[service_id].deployments


async def test_a_repository_is_queued_and_built_and_an_image_is_not(client: Client, twin: Twin) -> None:
    image, repo = await client.create("image"), await client.create("repo")
    await client.commit(image, source={"image": STUB})
    await client.commit(repo, source={"repo": "agents/stub", "branch": "main", "rootDirectory": "agent"})
    await asyncio.gather(client.until(image, "SUCCESS"), client.until(repo, "SUCCESS"))
    assert deployments(twin, image)[0].history == ["INITIALIZING", "DEPLOYING", "SUCCESS"]
    assert deployments(twin, repo)[0].history == ["INITIALIZING", "QUEUED", "BUILDING", "DEPLOYING", "SUCCESS"]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"image": "ghcr.io/agents/missing:1"}, "manifest unknown"),
        ({"image": "ghcr.io/agents/private:1"}, "access denied"),
        ({"repo": "agents/missing", "branch": "main"}, "the repository was not found"),
        ({"repo": "agents/stub", "branch": "nowhere"}, "the branch nowhere does not exist"),
        (
            {"repo": "agents/stub", "branch": "main", "rootDirectory": "nowhere"},
            "Could not find root directory: nowhere",
        ),
    ],
)
async def test_what_does_not_exist_fails_to_deploy(client: Client, source: Json, why: str) -> None:
    service_id = await client.create("agent")
    await client.commit(service_id, source=source)
    failed = await client.until(service_id, "FAILED")
    lines = await client.ask("query($id: String!) { buildLogs(deploymentId: $id) { message } }", id=failed["id"])
    assert why in lines[-1]["message"]


async def test_a_private_image_is_had_with_its_credentials(client: Client) -> None:
    service_id = await client.create("agent")
    credentials = {"username": "ada", "password": "open sesame"}
    source, deploy = {"image": "ghcr.io/agents/private:1"}, {"registryCredentials": credentials}
    await client.commit(service_id, source=source, deploy=deploy)
    await client.until(service_id, "SUCCESS")


async def test_a_program_gets_its_variables_the_vendors_and_nothing_else(client: Client, twin: Twin) -> None:
    service_id, url = await client.launch(KEY="value", OPENCLAW_STATE_DIR="/data", PORT="8080")
    seen = await client.environ(url)
    [boot] = twin.counts.boots
    assert boot.variables["PORT"] == "8080"
    assert boot.variables["OPENCLAW_STATE_DIR"] == "/data"
    assert boot.variables["RAILWAY_SERVICE_ID"] == service_id
    assert boot.variables["RAILWAY_PUBLIC_DOMAIN"] in url
    assert "RAILWAY_VOLUME_MOUNT_PATH" not in boot.variables
    assert seen["KEY"] == "value"
    assert seen["PORT"] != "8080"
    assert not Path(seen["OPENCLAW_STATE_DIR"]).is_relative_to("/data")
    own = {name for name in seen if not name.startswith("RAILWAY_")}
    assert own == {"KEY", "PORT", "OPENCLAW_STATE_DIR", "PATH", "HOME", "LANG"}


async def test_without_a_domain_at_boot_there_is_no_public_domain(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent")
    await client.commit(service_id, source={"image": STUB})
    await client.until(service_id, "SUCCESS")
    await client.add_domain(service_id)
    assert "RAILWAY_PUBLIC_DOMAIN" not in twin.counts.boots[0].variables
    listing = (
        "query($e: String!, $p: String!, $s: String!) { variables(environmentId: $e, projectId: $p, serviceId: $s) }"
    )
    now = await client.ask(listing, e=client.environment_id, p=twin.project_id, s=service_id)
    assert now["RAILWAY_PUBLIC_DOMAIN"]


async def test_references_in_values_are_resolved(client: Client) -> None:
    other = await client.create("other", variables={"SECRET": "s3"})
    assert other
    service_id = await client.create("agent")
    url = await client.add_domain(service_id)
    values = variables_of(A="${{B}}/x", B="1", C="${{ other.SECRET }}", D="${{nothing}}", E="${{RAILWAY_SERVICE_NAME}}")
    await client.commit(service_id, source={"image": STUB}, variables=values)
    seen = await client.environ(url)
    assert [seen[name] for name in "ABCDE"] == ["1/x", "1", "s3", "", "agent"]


async def test_a_program_that_fails_is_started_again_as_often_as_the_policy_says(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent")
    deploy = {"restartPolicyType": "ON_FAILURE", "restartPolicyMaxRetries": 2}
    await client.commit(service_id, source={"image": STUB}, deploy=deploy, variables=variables_of(BEHAVIOUR="fail"))
    crashed = await client.until(service_id, "CRASHED")
    assert [boot.reason for boot in twin.counts.boots] == ["deploy", "restart", "restart"]
    assert [each["status"] for each in crashed["instances"]] == ["CRASHED"]
    assert len({boot.environ["OPENCLAW_STATE_DIR"] for boot in twin.counts.boots}) == 3
    lines = await client.ask(LOGS, id=crashed["id"])
    assert sum("the key" in line["message"] for line in lines) == 3


async def test_a_program_that_is_never_to_be_restarted_crashes_at_once(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent")
    url = await client.add_domain(service_id)
    await client.commit(service_id, source={"image": STUB}, deploy={"restartPolicyType": "NEVER"})
    await client.environ(url)
    assert twin.control.kill(service_id) == {"killed": True}
    await client.until(service_id, "CRASHED")
    assert len(twin.counts.boots) == 1
    assert twin.control.kill(service_id) == {"killed": False}


async def test_a_program_that_ends_well_is_completed(client: Client) -> None:
    service_id = await client.create("agent")
    await client.commit(service_id, source={"image": STUB}, deploy={"startCommand": "echo done; exit 0"})
    deployment = await client.until(service_id, "SUCCESS")
    while not deployment["deploymentStopped"]:
        deployment = await client.until(service_id, "SUCCESS")
    assert [each["status"] for each in deployment["instances"]] == ["EXITED"]
    assert [line["message"] for line in await client.ask(LOGS, id=deployment["id"])] == ["done"]


async def test_a_command_that_does_not_exist_crashes(client: Client) -> None:
    service_id = await client.create("agent")
    deploy = {"startCommand": "no-such-program", "restartPolicyType": "NEVER"}
    await client.commit(service_id, source={"image": STUB}, deploy=deploy)
    await client.until(service_id, "CRASHED")


async def test_a_deployment_waits_for_its_healthcheck(client: Client, twin: Twin) -> None:
    service_id, url = await client.launch()
    await client.environ(url)
    await client.commit(service_id, deploy={"healthcheckPath": "/"})
    await client.until(service_id, "SUCCESS")
    assert (await client.environ(url))["RAILWAY_DEPLOYMENT_ID"] == deployments(twin, service_id)[-1].id


async def test_a_deployment_without_health_fails_and_the_one_before_goes_on(client: Client, twin: Twin) -> None:
    service_id, url = await client.launch()
    before = await client.environ(url)
    command = f"{sys.executable} -c 'import time; time.sleep(600)'"
    await client.commit(service_id, deploy={"startCommand": command, "healthcheckPath": "/", "healthcheckTimeout": 1})
    await client.until(service_id, "FAILED")
    after = await client.environ(url)
    assert after["RAILWAY_DEPLOYMENT_ID"] == before["RAILWAY_DEPLOYMENT_ID"]
    assert [each.status for each in deployments(twin, service_id)] == ["SUCCESS", "FAILED"]


async def test_a_new_deployment_takes_the_place_of_the_old_one(client: Client, twin: Twin) -> None:
    service_id, url = await client.launch(ROUND="1")
    first = await client.environ(url)
    await client.commit(service_id, variables=variables_of(ROUND="2"))
    await eventually(lambda: [each.status for each in deployments(twin, service_id)] == ["REMOVED", "SUCCESS"])
    second = await client.environ(url)
    assert (first["ROUND"], second["ROUND"]) == ("1", "2")
    assert first["OPENCLAW_STATE_DIR"] != second["OPENCLAW_STATE_DIR"]


async def test_what_is_on_a_volume_stays_and_two_programs_never_share_it(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent")
    url = await client.add_domain(service_id)
    await client.add_volume(service_id, "/data")
    variables = variables_of(OPENCLAW_STATE_DIR="/data/state")
    await client.commit(service_id, source={"image": STUB}, variables=variables)
    first = await client.environ(url)
    [old] = [each.pid for each in psutil.process_iter() if _is_ours(each, twin)]
    await client.commit(service_id, variables=variables_of(ROUND="2"))
    await eventually(lambda: not psutil.pid_exists(old) and deployments(twin, service_id)[-1].status == "SUCCESS")
    second = await client.environ(url)
    for name in ("OPENCLAW_STATE_DIR", "RAILWAY_VOLUME_MOUNT_PATH"):
        assert first[name] == second[name]
    assert Path(second["OPENCLAW_STATE_DIR"]).is_relative_to(second["RAILWAY_VOLUME_MOUNT_PATH"])
    assert twin.counts.boots[0].variables["RAILWAY_VOLUME_MOUNT_PATH"] == "/data"


async def test_a_deployment_that_is_torn_down_is_not_the_latest_any_more(client: Client, twin: Twin) -> None:
    service_id, _ = await client.launch()
    deployment = await client.until(service_id, "SUCCESS")
    assert await client.ask(REMOVE, id=deployment["id"])
    node = await client.node(service_id)
    assert node is not None
    assert node["latestDeployment"] is None
    await eventually(lambda: deployments(twin, service_id)[-1].status == "REMOVED")


@pytest.mark.parametrize("draining", [0, 600])
async def test_a_stubborn_program_is_killed_after_draining(client: Client, twin: Twin, draining: int) -> None:
    service_id = await client.create("agent")
    url = await client.add_domain(service_id)
    deploy, variables = {"drainingSeconds": draining}, variables_of(BEHAVIOUR="stubborn")
    await client.commit(service_id, source={"image": STUB}, deploy=deploy, variables=variables)
    await client.environ(url)
    [old] = [each.pid for each in psutil.process_iter() if _is_ours(each, twin)]
    await client.ask(REMOVE, id=(await client.until(service_id, "SUCCESS"))["id"])
    if draining:
        assert deployments(twin, service_id)[-1].status == "REMOVING"
        assert psutil.pid_exists(old)
    else:
        await eventually(lambda: deployments(twin, service_id)[-1].status == "REMOVED")
        assert not psutil.pid_exists(old)


async def test_nothing_is_left_of_a_program_with_children_everywhere(client: Client, twin: Twin) -> None:
    service_id, url = await client.launch(BEHAVIOUR="parent")
    await client.environ(url)
    assert len([each for each in psutil.process_iter() if _is_ours(each, twin)]) > 1
    await client.ask(REMOVE, id=(await client.until(service_id, "SUCCESS"))["id"])
    await eventually(lambda: deployments(twin, service_id)[-1].status == "REMOVED")
    assert not [each for each in psutil.process_iter() if _is_ours(each, twin)]


async def test_a_deployment_can_be_stopped_restarted_and_made_anew(client: Client, twin: Twin) -> None:
    service_id, url = await client.launch()
    deployment = await client.until(service_id, "SUCCESS")
    await client.ask(STOP, id=deployment["id"])
    stopped = await client.until(service_id, "SUCCESS")
    assert stopped["deploymentStopped"]
    await client.ask(RESTART, id=deployment["id"])
    await client.environ(url)
    again = await client.ask(REDEPLOY, id=(await client.until(service_id, "SUCCESS"))["id"])
    assert again["id"] != deployment["id"]
    once_more = await client.ask(DEPLOY, serviceId=service_id, environmentId=client.environment_id)
    assert (await client.until(service_id, "SUCCESS"))["id"] == once_more
    assert twin.counts.deployments == {service_id: 3}


async def test_a_program_can_be_signalled(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent")
    url = await client.add_domain(service_id)
    await client.commit(service_id, source={"image": STUB}, deploy={"restartPolicyType": "NEVER"})
    await client.environ(url)
    assert twin.control.kill(service_id, signal.SIGTERM) == {"killed": True}
    await client.until(service_id, "CRASHED")


def _is_ours(process: psutil.Process, twin: Twin) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        state_dir = process.environ().get("OPENCLAW_STATE_DIR", "")
    except psutil.Error:
        return False
    return Path(state_dir).is_relative_to(twin.root)
