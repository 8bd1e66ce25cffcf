"""What an operator may do to the ledger: add and read. Each right is tried."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from controller.core.transitions import derive
from controller.errors import Refused
from controller.ledger import LedgerOptions, open_ledger
from controller.ledger.questions import Choice, opened_for_reading
from controller.ledger.retention import prune
from controller.ledger.schema import migrate
from controller.model import AgentClaim, AgentInstance
from tests.core.builders import at, claim, instance
from tests.ledger.conftest import Clock, at_work, execute, keys_in, login, rows, says, soon, well

ROW = (
    "(uid, transition, ordinal, created, at, seen, namespace, name, pool, version, rank, reason, message, about)"
    " VALUES ('{}', 'Created', '', '2026-03-01', '2026-03-01', '2026-03-01', 'n', 'n', 'p', 1, 0, '', '', '{{}}')"
)


@pytest.fixture
def operator_url(ledger_url: str) -> Iterator[str]:
    """The ledger with a row of each kind, as an operator's login sees it."""
    execute(
        ledger_url,
        "SELECT agentpool.ensure_month('2026-03-01')",
        "INSERT INTO agentpool.claim_history " + ROW.format("u1"),
        "INSERT INTO agentpool.instance_history " + ROW.format("u1"),
        "INSERT INTO agentpool.claims (uid, namespace, name, pool, created, version, about)"
        " VALUES ('u1', 'n', 'n', 'p', '2026-03-01', 1, '{}')",
    )
    with login(ledger_url) as url:
        yield url


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM agentpool.claim_history",
        "SELECT * FROM agentpool.instance_history",
        "SELECT * FROM agentpool.claim_overview",
        "SELECT * FROM agentpool.instance_overview",
        "SELECT * FROM agentpool.migrations",
        "INSERT INTO agentpool.claim_history " + ROW.format("u2"),
        "INSERT INTO agentpool.instance_history " + ROW.format("u2"),
        "UPDATE agentpool.claims SET version = 2, about = '{}', ended_at = now()",
        "SELECT agentpool.ensure_month('2026-04-01')",
    ],
)
def test_it_may(statement: str, operator_url: str) -> None:
    execute(operator_url, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agentpool.claim_history SET message = 'nothing happened'",
        "UPDATE agentpool.instance_history SET at = now()",
        "DELETE FROM agentpool.claim_history",
        "DELETE FROM agentpool.instance_history",
        "TRUNCATE agentpool.claim_history",
        "DROP TABLE agentpool.claim_history",
        "DROP TABLE agentpool.claim_history_y2026m03",
        "DELETE FROM agentpool.claim_history_y2026m03",
        "SELECT * FROM agentpool.claim_history_y2026m03",
        "ALTER TABLE agentpool.claim_history DETACH PARTITION agentpool.claim_history_y2026m03",
        "ALTER TABLE agentpool.claim_history ADD COLUMN more text",
        "CREATE RULE r AS ON INSERT TO agentpool.claim_history DO INSTEAD NOTHING",
        "CREATE TRIGGER t AFTER INSERT ON agentpool.claim_history EXECUTE FUNCTION tsvector_update_trigger()",
        "CREATE TABLE agentpool.mine (a int)",
        "UPDATE agentpool.claims SET uid = 'another'",
        "UPDATE agentpool.claims SET name = 'another'",
        "UPDATE agentpool.claims SET created = now()",
        "DELETE FROM agentpool.claims",
        "DELETE FROM agentpool.instances",
        "TRUNCATE agentpool.claims",
        "INSERT INTO agentpool.migrations (version, name, checksum) VALUES (1000, 'x', 'x')",
        "DELETE FROM agentpool.migrations",
        "DROP SCHEMA agentpool CASCADE",
    ],
)
def test_it_may_not(statement: str, operator_url: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(operator_url, statement)


async def test_with_these_rights_the_ledger_works_and_answers(
    ledger_url: str, operator_url: str, tmp_path: Path, clock: Clock
) -> None:
    bound = claim(status={"phase": "Bound", "boundAt": at(1), "instance": "one"})
    things: list[AgentClaim | AgentInstance] = [bound, instance(claim="wish")]
    async with at_work(open_ledger(LedgerOptions(operator_url, tmp_path), clock)) as ledger:
        for thing in things:
            ledger.record(derive(None, thing))
            ledger.record(derive(thing, None))
            await soon(ledger.settled(thing.metadata.uid))
    assert len(keys_in(ledger_url)) == 2 + 3 + 3
    async with opened_for_reading(operator_url) as questions:
        assert len((await questions.claims(Choice(), 10)).rows) == 2
        assert len((await questions.history("wish", None)).rows) == 6


async def test_an_operator_that_comes_as_the_owner_leaves_its_rights_behind(
    database_url: str, tmp_path: Path, clock: Clock
) -> None:
    await migrate(database_url)
    execute(database_url, "ALTER TABLE agentpool.claim_history ADD COLUMN who text DEFAULT current_user")
    async with at_work(open_ledger(LedgerOptions(database_url, tmp_path), clock)) as ledger:
        ledger.record(derive(None, claim()))
        await soon(ledger.settled("uid-wish"))
    assert rows(database_url, "SELECT who FROM agentpool.claim_history") == [("agentpool_operator",)]


async def test_an_owner_that_may_not_put_on_the_role_is_told_and_writes_nothing_until_it_may(
    migrated_url: str, database_url: str, tmp_path: Path, clock: Clock
) -> None:
    """Somebody else made the role, as the first database of the server was migrated."""
    with login(database_url, operator=False) as url:
        user, database = (conninfo_to_dict(url)[part] for part in ("user", "dbname"))
        execute(database_url, f"GRANT CREATE ON DATABASE {database} TO {user}")
        await migrate(url)
        execute(database_url, "ALTER TABLE agentpool.claim_history ADD COLUMN who text DEFAULT current_user")
        async with at_work(open_ledger(LedgerOptions(url, tmp_path), clock)) as ledger:
            ledger.record(derive(None, claim()))
            await says(ledger, "could alter history", f"run 'GRANT agentpool_operator TO {user}'")
            assert keys_in(database_url) == []
            execute(database_url, f"GRANT agentpool_operator TO {user}")
            await soon(ledger.settled("uid-wish"))
            await well(ledger)
        assert rows(database_url, "SELECT who FROM agentpool.claim_history") == [("agentpool_operator",)]


async def test_who_is_no_operator_is_told_which_right_is_lacking(ledger_url: str) -> None:
    with login(ledger_url, operator=False) as url, pytest.raises(Refused, match="grant the role agentpool_operator"):
        async with opened_for_reading(url):
            pass


async def test_only_the_owner_prunes(operator_url: str) -> None:
    execute(operator_url, "UPDATE agentpool.claims SET gone_at = now()")
    with pytest.raises(Refused, match="for migrate and prune come as the owner of the schema agentpool"):
        await prune(operator_url, at(86_400 * 100))
