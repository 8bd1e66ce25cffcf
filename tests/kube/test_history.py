"""An API server that went back to an earlier state is found out by where its watches go on."""

import asyncio

import pytest

from controller.errors import AgentpoolError, Transient
from controller.kube import history
from controller.kube.history import History
from controller.model import AgentClaim, AgentInstance, Resource

CLAIMS, INSTANCES = "/apis/agentclaims", "/apis/agentinstances"


class Versions:
    """Answers how far each kind has gone, and counts the questions."""

    def __init__(self, *answers: int | AgentpoolError | None) -> None:
        self._answers = list(answers)
        self.asked: list[type[Resource]] = []

    async def version(self, kind: type[Resource]) -> int | None:
        self.asked.append(kind)
        answer = self._answers.pop(0)
        if isinstance(answer, AgentpoolError):
            raise answer
        return answer


async def is_reversed(versions: Versions, *watches: tuple[type[Resource], str, int]) -> bool:
    """Whether that is seen after these watches were opened."""
    seen = History(versions)
    for watch in watches:
        seen.goes_on(*watch)
    waiting = asyncio.create_task(seen.until_reversed())
    for _ in range(20):
        await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    return done


async def test_a_server_that_is_before_where_a_watch_goes_on_went_back() -> None:
    assert await is_reversed(Versions(7), (AgentClaim, CLAIMS, 5), (AgentClaim, CLAIMS, 9))


async def test_so_is_one_whose_watch_began_with_a_list_that_is_older_than_the_watch_before() -> None:
    assert await is_reversed(Versions(7), (AgentClaim, CLAIMS, 9), (AgentClaim, CLAIMS, 7))


@pytest.mark.parametrize("now", [9, 10, None], ids=["where it was", "further", "not told in numbers"])
async def test_a_server_that_is_not_before_it_did_not(now: int | None) -> None:
    assert not await is_reversed(Versions(now), (AgentClaim, CLAIMS, 5), (AgentClaim, CLAIMS, 9))


async def test_nothing_is_asked_for_a_watch_that_is_the_first_of_its_path() -> None:
    versions = Versions()
    assert not await is_reversed(versions, (AgentClaim, CLAIMS, 5), (AgentInstance, INSTANCES, 3))
    assert versions.asked == []


async def test_each_kind_is_asked_for_by_itself() -> None:
    """Their histories may be kept in different places."""
    versions = Versions(9, 2)
    opened = [(AgentClaim, CLAIMS, 5), (AgentInstance, INSTANCES, 3)]
    assert await is_reversed(versions, *opened, *opened)
    assert versions.asked == [AgentClaim, AgentInstance]


async def test_of_several_watches_of_a_kind_the_one_that_had_got_furthest_counts() -> None:
    here, there = "/apis/namespaces/here/agentclaims", "/apis/namespaces/there/agentclaims"
    opened = [(AgentClaim, here, 9), (AgentClaim, there, 5)]
    assert await is_reversed(Versions(7), *opened, *opened)


async def test_a_question_without_an_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "RETRY_SECONDS", 0.0)
    versions = Versions(Transient("away"), Transient("away"), 7)
    assert await is_reversed(versions, (AgentClaim, CLAIMS, 5), (AgentClaim, CLAIMS, 9))
