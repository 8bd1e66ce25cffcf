"""Lists, page by page."""

from tests.railway import Twin
from tests.railway.asking import DELETE, READ, Client, Json


async def pages(client: Client, first: int) -> list[list[Json]]:
    found, after = [], None
    while True:
        read = await client.ask(READ, id=client.environment_id, first=first, after=after)
        page = read["serviceInstances"]
        found.append([edge["node"] for edge in page["edges"]])
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


async def test_pages_hold_every_service_once_in_order(client: Client) -> None:
    names = [f"agent-{number}" for number in range(7)]
    for name in names:
        await client.create(name)
    found = await pages(client, 3)
    assert [len(page) for page in found] == [3, 3, 1]
    assert [node["serviceName"] for page in found for node in page] == names
    assert [len(page) for page in await pages(client, 7)] == [7]


async def test_no_service_is_skipped_when_the_one_at_the_end_of_a_page_is_deleted(client: Client) -> None:
    ids = [await client.create(f"agent-{number}") for number in range(4)]
    first = (await client.ask(READ, id=client.environment_id, first=2))["serviceInstances"]
    await client.ask(DELETE, id=ids[1])
    rest = await client.ask(READ, id=client.environment_id, first=2, after=first["pageInfo"]["endCursor"])
    assert [edge["node"]["serviceId"] for edge in rest["serviceInstances"]["edges"]] == ids[2:]


async def test_a_page_is_never_longer_than_the_vendor_wants(client: Client, twin: Twin) -> None:
    twin.settings.page = 2
    for number in range(3):
        await client.create(f"agent-{number}")
    assert [len(page) for page in await pages(client, 500)] == [2, 1]


async def test_an_empty_list_is_one_empty_page(client: Client) -> None:
    assert await pages(client, 500) == [[]]
