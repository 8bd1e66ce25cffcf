"""What the ledger answers about claims that are known to the second."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.core.transitions import Subject, derive
from controller.ledger import LedgerOptions, open_ledger
from controller.ledger.questions import Answer, Choice, Questions, opened_for_reading
from tests.core.builders import at, claim, instance, metadata
from tests.ledger.conftest import Clock, at_work, rows, soon

DAY = 86_400.0


def stage(name: str, of: str, *, ready: float, claimed: float | None = None, version: int = 10, **more: Any) -> Subject:
    """An instance that was ready and is given to a claim."""
    status = {"phase": "Claimed", "launchedAt": at(ready - 5), "readyAt": at(ready), "backendId": f"pid-{name}"}
    status |= {"claimedAt": at(claimed), "conversationId": f"c-{of}"} if claimed is not None else {}
    return instance(name, claim=of, created=ready - 10, status=status, resourceVersion=str(version), **more)


def bound(name: str, at_second: float, *, phase: str = "Bound", created: float = 0, **more: Any) -> Subject:
    status = {"phase": phase, "boundAt": at(at_second), "instance": f"i-{name}", "conversationId": f"c-{name}"}
    return claim(name, created=created, status=status | more.pop("status", {}), meta={"resourceVersion": "20"}, **more)


async def told(clock: Clock, *steps: tuple[float, Subject | None, Subject | None], url: str, spool: Path) -> None:
    """Hand over what happened, each at its second."""
    async with at_work(open_ledger(LedgerOptions(url, spool), clock)) as ledger:
        for second, before, after in steps:
            clock.now = at(second)
            ledger.record(derive(before, after))
        for _, before, after in steps:
            thing = after or before
            assert thing is not None
            await soon(ledger.settled(thing.metadata.uid))


@pytest.fixture
async def ledger(ledger_url: str, tmp_path: Path, clock: Clock) -> AsyncIterator[Questions]:
    """A claim that was served and given back, one that failed, one that waits, and one of the next day."""
    held = bound("ada", 3.5, agentName="Ada")
    back = bound("ada", 3.5, agentName="Ada", deleting=True)
    back = back.model_copy(update={"metadata": back.metadata.model_copy(update={"deletion_timestamp": at(63)})})
    failed = claim("bob", created=10, agentName="Bob", status={"phase": "Failed", "message": "too late"})
    waits = claim("eve", created=20, agentName="Eve", status={"phase": "Pending"})
    later = bound("dan", DAY + 1, created=DAY, agentName="Ada", pool="others")
    given, served = stage("i-ada", "ada", ready=-60), stage("i-ada", "ada", ready=-60, claimed=3.5, version=30)
    gone = served.model_copy(update={"metadata": served.metadata.model_copy(update={"deletion_timestamp": at(64)})})
    await told(
        clock,
        (0.25, None, claim("ada", agentName="Ada")),
        (2.25, None, given),
        (3.5, None, held),
        (4, given, served),
        (10, None, claim("bob", created=10, agentName="Bob")),
        (20, None, waits),
        (40, None, failed),
        (63.5, held, back),
        (64, served, gone),
        (65, back, None),
        (66, gone, None),
        (DAY + 1.5, None, later),
        url=ledger_url,
        spool=tmp_path,
    )
    async with opened_for_reading(ledger_url) as questions:
        yield questions


def objects(answer: Answer) -> list[dict[str, Any]]:
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


async def claims(ledger: Questions, **choice: Any) -> list[str]:
    return [each["claim"] for each in objects(await ledger.claims(Choice(**choice), 100))]


async def test_a_claim_says_who_what_when_how_long_where_and_how_it_ended(ledger: Questions) -> None:
    [ada] = [each for each in objects(await ledger.claims(Choice(), 10)) if each["claim"] == "ada"]
    expected = {
        "namespace": "default",
        "agent": "Ada",
        "pool": "helpers",
        "outcome": "Released",
        "created_at": at(0.25),
        "assigned_at": at(2.25),
        "bound_at": at(3.5),
        "ended_at": at(63.5),
        "queued_seconds": 2.0,
        "provision_seconds": 1.25,
        "bind_seconds": 3.25,
        "held_seconds": 60.0,
        "conversation_id": "c-ada",
        "instance": "i-ada",
        "backend": "process",
        "place": "process",
        "backend_id": "pid-i-ada",
        "template_hash": "new-hash",
        "held": [],
        "uid": "uid-ada",
        "instance_uid": "uid-i-ada",
    }
    assert {name: ada[name] for name in expected} == expected


async def test_claims_are_chosen_by_agent_pool_namespace_and_time(ledger: Questions) -> None:
    assert await claims(ledger) == ["dan", "eve", "bob", "ada"]
    assert await claims(ledger, agent="Ada") == ["dan", "ada"]
    assert await claims(ledger, pool="helpers") == ["eve", "bob", "ada"]
    assert await claims(ledger, pool="others", agent="Eve") == []
    assert await claims(ledger, since=at(10)) == ["dan", "eve", "bob"]
    assert await claims(ledger, since=at(10), until=at(20)) == ["bob"]
    assert await claims(ledger, namespace="elsewhere") == []
    assert len((await ledger.claims(Choice(), 2)).rows) == 2


async def test_how_each_ended_or_stands(ledger: Questions) -> None:
    outcomes = {each["claim"]: (each["outcome"], each["message"]) for each in objects(await ledger.claims(Choice(), 9))}
    assert outcomes == {
        "ada": ("Released", ""),
        "bob": ("Failed", "too late"),
        "eve": ("Pending", None),
        "dan": ("Bound", None),
    }


async def usage(ledger: Questions, by: str, *columns: str, **choice: Any) -> dict[str, tuple[Any, ...]]:
    answer = objects(await ledger.usage(Choice(**choice), by, at(DAY + 3601)))
    return {each["subject"]: tuple(each[column] for column in columns) for each in answer}


async def test_usage_counts_by_pool_day_and_agent(ledger: Questions) -> None:
    counts = ("claims", "bound", "waiting", "failed", "held_now")
    assert await usage(ledger, "pool", *counts) == {
        "default/helpers": (3, 1, 1, 1, 0),
        "default/others": (1, 1, 0, 0, 1),
    }
    assert await usage(ledger, "day", *counts) == {"2026-03-01": (3, 1, 1, 1, 0), "2026-03-02": (1, 1, 0, 0, 1)}
    assert await usage(ledger, "agent", *counts) == {
        "Ada": (2, 2, 0, 0, 1),
        "Bob": (1, 0, 0, 1, 0),
        "Eve": (1, 0, 1, 0, 0),
    }
    assert await usage(ledger, "agent", "claims", pool="others") == {"Ada": (1,)}


async def test_usage_tells_waiting_times_and_hours(ledger: Questions) -> None:
    answer = await usage(ledger, "pool", "median_bind_seconds", "agent_hours")
    assert answer == {"default/helpers": (3.25, pytest.approx(1 / 60)), "default/others": (1.0, 1.0)}


async def history(ledger: Questions, wanted: str, namespace: str | None = None) -> list[str]:
    answer = objects(await ledger.history(wanted, namespace))
    return [f"{each['name']} {each['transition']}" for each in answer]


ADA = [
    "i-ada Created",
    "i-ada Launched",
    "i-ada Ready",
    "ada Created",
    "i-ada Bound",
    "ada Bound",
    "i-ada Claimed",
    "ada Released",
    "i-ada Deleting",
    "ada Gone",
    "i-ada Gone",
]


@pytest.mark.parametrize("wanted", ["ada", "uid-ada"])
async def test_the_history_of_a_claim_tells_of_its_instance_too(wanted: str, ledger: Questions) -> None:
    assert await history(ledger, wanted) == ADA


async def test_the_history_of_an_instance_is_its_own(ledger: Questions) -> None:
    assert await history(ledger, "i-ada") == [line for line in ADA if line.startswith("i-ada")]


async def test_the_history_of_what_is_not_known_is_empty(ledger: Questions) -> None:
    assert await history(ledger, "nobody") == await history(ledger, "ada", "elsewhere") == []


async def test_a_name_that_was_used_twice_has_two_histories(ledger_url: str, tmp_path: Path, clock: Clock) -> None:
    again = claim("ada", created=100, meta={"uid": "second"})
    steps = [(0.0, None, claim("ada")), (50.0, claim("ada"), None), (100.0, None, again)]
    await told(clock, *steps, url=ledger_url, spool=tmp_path)
    async with opened_for_reading(ledger_url) as questions:
        lines = objects(await questions.history("ada", None))
        assert [(line["uid"], line["transition"]) for line in lines] == [
            ("uid-ada", "Created"),
            ("uid-ada", "Gone"),
            ("second", "Created"),
        ]
        assert len(objects(await questions.history("second", None))) == 1


async def test_what_comes_late_does_not_turn_back_what_is_so_now(ledger_url: str, tmp_path: Path, clock: Clock) -> None:
    old = claim(meta={"resourceVersion": "5"}, status={"phase": "Pending", "attempts": 1, "instance": "dead"})
    new = claim(meta={"resourceVersion": "9"}, status={"phase": "Bound", "boundAt": at(2), "instance": "one"})
    await told(clock, (3, None, new), url=ledger_url, spool=tmp_path)
    await told(clock, (4, None, old), url=ledger_url, spool=tmp_path)
    assert rows(ledger_url, "SELECT phase, instance, version FROM agentpool.claims") == [("Bound", "one", 9)]
    transitions = rows(ledger_url, "SELECT transition FROM agentpool.claim_history ORDER BY at, version, rank")
    assert transitions == [("Created",), ("Bound",), ("Rebinding",)]


async def test_an_instance_tells_its_stages(ledger: Questions, ledger_url: str) -> None:
    columns = "phase, launch_seconds, boot_seconds, idle_seconds, end_seconds, claim, agent"
    [found] = rows(ledger_url, f"SELECT {columns} FROM agentpool.instance_overview WHERE instance = 'i-ada'")
    assert found == ("Gone", 5.0, 5.0, 62.25, 2.0, "ada", "Ada")


def test_the_data_is_what_it_is_said_to_be() -> None:
    assert metadata("ada")["uid"] == "uid-ada"
    assert at(0) == datetime(2026, 3, 1, 12, tzinfo=UTC)
