"""Limits on requests."""

import pytest

from tests.railway import Settings, Twin
from tests.railway.asking import READ, Client
from tests.railway.limits import Limits
from tests.railway.settings import PLANS


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("plan", sorted(PLANS))
def test_a_plan_has_so_many_requests_an_hour(plan: str) -> None:
    clock, each = Clock(), PLANS[plan]
    limits = Limits(Settings(plan=plan), clock)
    for number in range(each.per_hour):
        clock.now += 0.2
        admission = limits.admit("ada")
        assert admission.admitted
        assert admission.headers["X-RateLimit-Limit"] == str(each.per_hour)
        assert admission.headers["X-RateLimit-Remaining"] == str(each.per_hour - 1 - number)
        assert "Retry-After" not in admission.headers
    refused = limits.admit("ada")
    assert not refused.admitted
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert limits.admit("bob").admitted
    clock.now += float(refused.headers["Retry-After"])
    assert limits.admit("ada").admitted


@pytest.mark.parametrize("plan", ["Hobby", "Pro"])
def test_a_plan_has_so_many_requests_a_second(plan: str) -> None:
    clock, each = Clock(), PLANS[plan]
    limits = Limits(Settings(plan=plan), clock)
    assert all(limits.admit("ada").admitted for _ in range(each.per_second))
    refused = limits.admit("ada")
    assert not refused.admitted
    assert refused.headers["Retry-After"] == "1"
    clock.now += 1.0
    assert limits.admit("ada").admitted


@pytest.mark.parametrize(
    ("form", "expected"), [("epoch", "1800003600"), ("iso", "2027-01-15T09:00:00.000Z"), ("seconds", "3600")]
)
def test_the_end_of_the_window_is_told_in_one_of_three_ways(form: str, expected: str) -> None:
    settings = Settings()
    settings.change({"reset_format": form})
    assert Limits(settings, Clock()).admit("ada").headers["X-RateLimit-Reset"] == expected


async def test_requests_over_the_limit_are_refused_and_counted(client: Client, twin: Twin) -> None:
    twin.settings.change({"limited": True, "plan": "Free"})
    answers = [await client.post(READ, id=client.environment_id) for _ in range(PLANS["Free"].per_hour + 2)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == sum(twin.counts.violations.values()) >= 2
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert answers[0].headers["X-RateLimit-Limit"] == "100"
    assert twin.counts.requests == {"Environment": len(answers)}
    assert twin.counts.peak <= len(answers)


async def test_projects_tokens_may_share_one_budget(client: Client, twin: Twin) -> None:
    twin.settings.change({"limited": True, "limit_scope": "account"})
    first = await client.post(READ, id=client.environment_id)
    other = await client.post(READ, {"Project-Access-Token": twin.project_tokens["dev"]}, id=client.environment_id)
    left = [int(answer.headers["X-RateLimit-Remaining"]) for answer in (first, other)]
    assert left == [9_999, 9_998]


def test_requests_that_do_not_say_where_they_come_from_have_few_a_second() -> None:
    clock = Clock()
    limits = Limits(Settings(), clock)
    assert [limits.admit_unidentified() for _ in range(11)] == [True] * 10 + [False]
    clock.now += 1.0
    assert limits.admit_unidentified()


async def test_what_is_refused_for_not_saying_where_it_comes_from_is_not_json(client: Client, twin: Twin) -> None:
    assert (await client.post(READ, source="", id=client.environment_id)).status_code == 200
    twin.settings.unidentified_per_second = 0
    answer = await client.post(READ, source="", id=client.environment_id)
    assert (answer.status_code, answer.text) == (429, "error code: 1015")
    assert (await client.post(READ, id=client.environment_id)).status_code == 200
    assert twin.counts.unidentified == 2
    assert twin.counts.violations == {"Environment": 1}


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no setting speed"):
        Settings().change({"speed": 1})
