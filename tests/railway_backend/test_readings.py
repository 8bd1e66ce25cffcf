"""A reading of an environment is all of it or none: whatever it lacked would pass for gone."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from controller.backends.railway.api import EnvironmentApi
from controller.backends.railway.client import RailwayClient
from controller.backends.railway.failures import Unanswered

LAST = {"hasNextPage": False, "endCursor": None}


def services(*names: str, page: Mapping[str, Any] = LAST) -> dict[str, Any]:
    edges = [{"node": {"serviceId": f"id-{name}", "serviceName": name}} for name in names]
    return {"edges": edges, "pageInfo": page}


def volumes(*names: str, page: Mapping[str, Any] = LAST) -> dict[str, Any]:
    edges = [{"node": {"volumeId": name, "volume": {"id": name, "name": name}}} for name in names]
    return {"edges": edges, "pageInfo": page}


class Answers:
    """A client that has these pages of an environment, one after the other."""

    def __init__(self, *pages: Mapping[str, Any]) -> None:
        self._pages = list(pages)

    async def query(self, name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        assert name == "Environment"
        assert variables["projectId"] == "p"
        return {"environment": {"id": "e", "name": "test", "projectId": "p", **self._pages.pop(0)}}


async def read(*pages: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    async def client() -> RailwayClient:
        return cast("RailwayClient", answers)

    answers = Answers(*pages)
    reading = await EnvironmentApi(client, "p", "e", asyncio.Lock()).read()
    return [each.service_name for each in reading.services], [each.volume_id for each in reading.volumes]


async def test_pages_are_put_together_and_only_the_list_that_goes_on_is_asked_for_again() -> None:
    more = {"hasNextPage": True, "endCursor": "b"}
    first = {"serviceInstances": services("a", "b", page=more), "volumeInstances": volumes("v")}
    assert await read(first, {"serviceInstances": services("c")}) == (["a", "b", "c"], ["v"])


@pytest.mark.parametrize("cursor", [None, ""])
@pytest.mark.parametrize("cut", ["services", "volumes"])
async def test_a_page_after_which_there_are_more_and_nobody_says_where_is_none(cut: str, cursor: str | None) -> None:
    more = {"hasNextPage": True, "endCursor": cursor}
    page = {
        "serviceInstances": services("a", page=more if cut == "services" else LAST),
        "volumeInstances": volumes("v", page=more if cut == "volumes" else LAST),
    }
    with pytest.raises(Unanswered, match="cut short"):
        await read(page, page)


@pytest.mark.parametrize("lacking", ["serviceInstances", "volumeInstances"])
async def test_null_for_a_list_that_was_asked_for_is_no_empty_list(lacking: str) -> None:
    page = {"serviceInstances": services("a"), "volumeInstances": volumes("v")} | {lacking: None}
    with pytest.raises(Unanswered, match="lacks a list"):
        await read(page)


async def test_null_for_one_of_the_services_is_no_answer() -> None:
    page = {"serviceInstances": services("a"), "volumeInstances": volumes()}
    page["serviceInstances"]["edges"].append({"node": None})
    with pytest.raises(Unanswered):
        await read(page)
