"""What a person finds in the ledger after an operator has worked, was killed, or had no Postgres for a while."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from tests.e2e.api import reason
from tests.e2e.commands import run_to_end
from tests.e2e.conftest import Launch
from tests.e2e.system import System, name_of, uid_of
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def started(launch: Launch, url: str) -> System:
    return launch(AGENTPOOL_DATABASE_URL=url, AGENTPOOL_LEDGER_MIGRATE_AT_START="true")


def asked(url: str, *words: str) -> list[dict[str, Any]]:
    """What an agentpool ledger command shows."""
    code, told = run_to_end("ledger", *words, "--output", "json", AGENTPOOL_DATABASE_URL=url)
    assert code == 0, told
    rows: list[dict[str, Any]] = json.loads(told)
    return rows


def outcome(url: str, claim: str) -> str:
    found = [row["outcome"] for row in asked(url, "claims") if row["claim"] == claim]
    return found[0] if found else ""


def test_a_claim_is_found_with_who_when_what_and_how_it_ended(launch: Launch, database_url: str) -> None:
    system = started(launch, database_url)
    system.pool("p", minIdle=1)
    system.warm("p")
    claim = system.bound(system.claim("c", "p", agentName="Tokyo trip planner", instructions="A secret plan."))
    instance = system.instance_of("c")
    system.api.delete("agentclaims", "c")
    system.gone("agentinstances", name_of(instance))
    eventually(lambda: outcome(database_url, "c") == "Released", lambda: asked(database_url, "history", "c"))

    [row] = asked(database_url, "claims", "--agent", "Tokyo trip planner")
    assert row["conversation_id"] == claim["status"]["conversationId"]
    assert row["instance"] == name_of(instance)
    assert row["backend"] == "process"
    assert row["bind_seconds"] is not None
    # Its instance has a history of its own in it.
    told = [
        each["transition"] for each in asked(database_url, "history", uid_of(claim)) if each["uid"] == uid_of(claim)
    ]
    assert told == ["Created", "Bound", "Released", "Gone"]
    assert "A secret plan." not in str(asked(database_url, "claims")) + str(asked(database_url, "history", "c"))
    [usage] = asked(database_url, "usage", "--by", "pool")
    assert usage["claims"] == 1


def test_killed_and_started_again_nothing_is_recorded_twice(launch: Launch, database_url: str) -> None:
    system = started(launch, database_url)
    system.pool("p", minIdle=1)
    system.warm("p")
    system.bound(system.claim("c", "p"))
    for _ in range(3):
        system.command.kill()
        system.command.start()
        system.command.wait_ready()
    system.bound("c")
    system.warm("p")
    eventually(lambda: outcome(database_url, "c") == "Bound")

    for table in ("claim_history", "instance_history"):
        with psycopg.connect(database_url) as connection:
            query = f"SELECT uid, transition, count(*) FROM agentpool.{table} GROUP BY uid, transition"
            counted = connection.execute(query).fetchall()
        once = [number for _, transition, number in counted if transition in {"Created", "Launched", "Ready", "Bound"}]
        assert once
        assert set(once) == {1}


def test_without_postgres_claims_go_on_and_are_recorded_once_it_is_back(launch: Launch, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE later")
    later = psycopg.conninfo.make_conninfo(database_url, dbname="nothing_of_this_name")
    system = launch(AGENTPOOL_DATABASE_URL=later, AGENTPOOL_LEDGER_MIGRATE_AT_START="true")
    system.pool("p", minIdle=1)
    system.warm("p")
    system.bound(system.claim("c", "p"))
    eventually(lambda: "agentpool_ledger_up 0.0" in system.command.metrics())

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE later RENAME TO nothing_of_this_name")
    try:
        eventually(lambda: "agentpool_ledger_up 1.0" in system.command.metrics(), lambda: system.command.output[-3000:])
        eventually(lambda: outcome(later, "c") == "Bound")
    finally:
        system.command.stop()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP DATABASE nothing_of_this_name WITH (FORCE)")


def renamed(url: str, name: str, to: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(name)
        )
        connection.execute(SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(name), Identifier(to)))


@pytest.fixture
def taken_away(database_url: str, postgres_url: str) -> Iterator[Callable[[bool], None]]:
    """Takes the database away, and brings it back."""
    name = str(conninfo_to_dict(database_url)["dbname"])
    away = f"{name}_away"
    there = True

    def take(yes: bool) -> None:
        nonlocal there
        renamed(postgres_url, *((name, away) if yes else (away, name)))
        there = not yes

    yield take
    if not there:
        take(False)


def test_what_is_deleted_without_postgres_stays_until_postgres_has_it_but_its_agent_is_ended(
    launch: Launch, database_url: str, taken_away: Callable[[bool], None]
) -> None:
    system = started(launch, database_url)
    system.pool("p", minIdle=1, maxTotal=2)
    system.warm("p")
    claim = system.bound(system.claim("c", "p"))
    assert "agentpool.dev/ledger" in claim["metadata"]["finalizers"]
    instance = system.instance_of("c")
    taken_away(True)
    eventually(lambda: "agentpool_ledger_up 0.0" in system.command.metrics())
    system.api.delete("agentclaims", "c")
    eventually(lambda: not system.pids(instance))
    eventually(lambda: reason(system.get_claim("c"), "Ready") == "False/AwaitingLedger", lambda: system.get_claim("c"))
    # It does not count against maxTotal any more.
    system.bound(system.claim("d", "p"))
    system.warm("p")
    assert "LedgerCurrent" in str(system.get_pool("p")["status"])
    taken_away(False)
    system.gone("agentclaims", "c")
    system.gone("agentinstances", name_of(instance))
    assert outcome(database_url, "c") == "Released"
    told = [each["transition"] for each in asked(database_url, "history", uid_of(instance))]
    assert told[-2:] == ["Deleting", "Gone"]


def test_a_strict_operator_gives_nobody_an_agent_without_postgres_and_goes_on_with_it(
    launch: Launch, database_url: str, taken_away: Callable[[bool], None]
) -> None:
    strict = {"AGENTPOOL_LEDGER_MIGRATE_AT_START": "true", "AGENTPOOL_LEDGER_STRICT": "true"}
    system = launch(AGENTPOOL_DATABASE_URL=database_url, **strict)
    system.pool("p", minIdle=1)
    system.warm("p")
    system.bound(system.claim("a", "p"))
    system.warm("p")
    taken_away(True)
    eventually(lambda: "agentpool_ledger_up 0.0" in system.command.metrics())
    system.claim("b", "p")
    system.claim_says("b", "False/AwaitingLedger")
    assert "claimRef" not in system.idle("p")[0]["spec"]
    taken_away(False)
    system.bound("b")
