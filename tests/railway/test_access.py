"""Who may see and do what, and requests that make no sense."""

import httpx
import pytest

from tests.railway import Twin
from tests.railway.asking import COMMIT, CREATE, DELETE, READ, VOLUME_DELETE, Client, Failed

REFUSED = r"^Not Authorized$"
NOBODY = "00000000-0000-4000-8000-000000000000"
PROJECT_TOKEN = "query { projectToken { projectId environmentId project { name } environment { name } } }"
ME = "query { me { name } }"


def project(token: str) -> dict[str, str]:
    return {"Project-Access-Token": token}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_project_token_opens_its_environment_and_no_other(client: Client, twin: Twin) -> None:
    headers = project(twin.project_tokens["dev"])
    told = await client.ask(PROJECT_TOKEN, headers)
    assert told["projectId"] == twin.project_id
    assert told["environmentId"] == client.environment_id
    assert (told["project"]["name"], told["environment"]["name"]) == ("agents", "dev")
    assert await client.ask(READ, headers, id=client.environment_id, projectId=twin.project_id)
    with pytest.raises(Failed, match=REFUSED) as failure:
        await client.ask(READ, headers, id=twin.environments["staging"].id)
    assert failure.value.status == 200
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(ME, headers)


async def test_a_project_token_touches_no_service_or_volume_of_another_environment(client: Client, twin: Twin) -> None:
    service_id, volume_id = await client.create("agent"), await client.add_volume(None)
    headers = project(twin.project_tokens["staging"])
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(DELETE, headers, id=service_id)
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(VOLUME_DELETE, headers, volumeId=volume_id)
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(CREATE, headers, input={"projectId": twin.project_id, "name": "everywhere"})
    headers = project(twin.project_tokens["dev"])
    assert await client.ask(DELETE, headers, id=service_id)
    assert await client.ask(VOLUME_DELETE, headers, volumeId=volume_id)


async def test_account_and_workspace_tokens_open_all_environments(client: Client, twin: Twin) -> None:
    for token in (twin.issue("Account"), twin.issue("Workspace")):
        headers = bearer(token)
        for environment in twin.environments.values():
            assert await client.ask(READ, headers, id=environment.id)
    assert (await client.ask(ME))["name"] == "Ada"
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(ME, bearer(twin.issue("Workspace")))
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(PROJECT_TOKEN)


async def test_a_token_in_the_header_of_the_other_kind_opens_nothing(client: Client, twin: Twin) -> None:
    for headers in (bearer(twin.project_tokens["dev"]), project(twin.token), bearer("wrong"), {}):
        with pytest.raises(Failed, match=REFUSED) as failure:
            await client.ask(READ, headers, id=client.environment_id)
        assert failure.value.status == 200


async def test_a_bad_token_may_also_be_told_by_the_status(client: Client, twin: Twin) -> None:
    twin.settings.unauthorized = "status"
    with pytest.raises(Failed, match=REFUSED) as failure:
        await client.ask(READ, {}, id=client.environment_id)
    assert failure.value.status == 401


async def test_a_revoked_token_opens_nothing(client: Client, twin: Twin) -> None:
    token = twin.issue("Account")
    twin.access.revoke(token)
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(READ, bearer(token), id=client.environment_id)


async def test_a_token_that_only_reads_changes_nothing(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent", variables={"KEY": "secret"})
    headers = project(twin.issue("Project", "dev", read_only=True))
    where = {"projectId": twin.project_id, "environmentId": client.environment_id}
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(CREATE, headers, input={"name": "other", **where})
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(COMMIT, headers, environmentId=client.environment_id, patch={"services": {service_id: {}}})
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(DELETE, headers, id=service_id)
    assert len(await client.nodes()) == 1
    query = "query($id: String!) { environment(id: $id) { config(decryptVariables: true) } }"
    config = (await client.ask(query, headers, id=client.environment_id))["config"]
    assert config["services"][service_id]["variables"] == {"KEY": {}}


async def test_another_workspace_is_closed(client: Client, twin: Twin) -> None:
    other = twin.world.add_project("others", twin.world.new_id())
    environment = twin.world.add_environment(other, "production")
    with pytest.raises(Failed, match=REFUSED):
        await client.ask(READ, id=environment.id)
    with pytest.raises(Failed, match="Project not found"):
        await client.ask(READ, id=client.environment_id, projectId=NOBODY)


async def test_an_environment_is_not_found_in_another_project(client: Client, twin: Twin) -> None:
    other = twin.world.add_project("others", twin.project.workspace_id)
    with pytest.raises(Failed, match="Environment not found"):
        await client.ask(READ, id=client.environment_id, projectId=other.id)


@pytest.mark.parametrize(
    ("setting", "message"), [("missing", "Environment not found"), ("unauthorized", "Not Authorized")]
)
async def test_an_unknown_id_is_not_found_or_not_authorized(
    client: Client, twin: Twin, setting: str, message: str
) -> None:
    twin.settings.change({"unknown_ids": setting})
    with pytest.raises(Failed, match=message):
        await client.ask(READ, id=NOBODY)


@pytest.mark.parametrize(
    "query",
    [
        "query {",
        "query { nothing }",
        "mutation { serviceCreate(input: {}) { id } }",
        "query($id: String!) { environment(id: $id) { id } }",
        "query One { me { id } } query Two { me { id } }",
    ],
)
async def test_an_operation_that_is_not_valid_is_a_bad_request(client: Client, query: str) -> None:
    answer = await client.post(query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"]


async def test_what_is_no_json_is_a_bad_request(twin: Twin) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{twin.url}?source=tests", content="{", headers=bearer(twin.token))
        assert answer.status_code == 400
        assert (await http.get(f"{twin.url}?source=tests")).status_code == 404
