"""The schema: made from nothing and from every earlier version, by any number of programs at once, and never back."""

import asyncio
from dataclasses import replace

import psycopg
import pytest

from controller.errors import Misconfigured, Refused, Transient
from controller.ledger.schema import Migration, migrate, migrations, newest
from tests.ledger.conftest import execute, login, rows
from tests.postgres.plugin import with_parts

VERSIONS = [step.version for step in migrations()]
RELEASED = {
    1: "466fe1e0919ea595ae7f7461889e5874e757340c0d7776fe264e1c965767281f",
    2: "24e30f3f36e67de18edff549ac91ba40d027deb6fee76b6946c016dd8054ffde",
    3: "7f01412d49174131cda7194645e5190eec9cb273d87d843ae3d5287df0a31a5e",
}
"""Checksums of the steps that databases have applied: a step is never edited, only followed by another one."""
SHAPE = """
    SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_schema = 'agentpool' ORDER BY 1, 2
"""


def versions_in(url: str) -> list[int]:
    return [version for (version,) in rows(url, "SELECT version FROM agentpool.migrations ORDER BY version")]


def test_files_are_numbered_without_a_gap() -> None:
    assert [step.version for step in migrations()] == list(range(1, newest() + 1))


def test_no_step_was_edited_after_its_release() -> None:
    assert {step.version: step.checksum for step in migrations() if step.version in RELEASED} == RELEASED


async def test_from_nothing_all_of_it_is_applied_and_then_nothing(database_url: str) -> None:
    assert [step.version for step in await migrate(database_url)] == VERSIONS
    assert await migrate(database_url) == ()
    assert versions_in(database_url) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
async def test_from_each_earlier_version_the_rest_is_applied_and_what_is_there_stays(
    version: int, database_url: str, migrated_url: str
) -> None:
    await migrate(database_url, migrations()[:version])
    execute(
        database_url,
        "SELECT agentpool.ensure_month('2026-03-01')",
        "INSERT INTO agentpool.claim_history (uid, transition, ordinal, created, at, seen, namespace, name, pool,"
        " version, rank, reason, message, about) VALUES ('u', 'Created', '', '2026-03-01', '2026-03-01', '2026-03-01',"
        " 'default', 'wish', 'helpers', 1, 0, '', '', '{}')",
    )
    assert [step.version for step in await migrate(database_url)] == VERSIONS[version:]
    assert rows(database_url, "SELECT name FROM agentpool.claim_history") == [("wish",)]
    own = [row for row in rows(database_url, SHAPE) if "history_y" not in row[0]]
    assert own == [row for row in rows(migrated_url, SHAPE) if "history_y" not in row[0]]


async def test_several_at_once_apply_each_step_once(database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(database_url) for _ in range(6)))
    assert sorted(step.version for steps in applied for step in steps) == VERSIONS


async def test_in_several_databases_of_a_server_at_once_the_role_is_made_once(
    database_url: str, migrated_url: str
) -> None:
    await migrate(database_url)
    assert rows(database_url, "SELECT count(*) FROM pg_roles WHERE rolname = 'agentpool_operator'") == [(1,)]


async def test_a_step_that_fails_leaves_nothing_behind(database_url: str) -> None:
    broken = (*migrations()[:1], Migration(2, "broken", "CREATE TABLE agentpool.half (a int); SELECT 1/0;"))
    with pytest.raises(Refused, match="division by zero"):
        await migrate(database_url, broken)
    assert rows(database_url, "SELECT to_regnamespace('agentpool')") == [(None,)]
    assert len(await migrate(database_url)) == newest()


async def test_a_file_that_was_changed_after_it_was_applied_is_found(database_url: str) -> None:
    changed = replace(migrations()[0], text=migrations()[0].text + "-- improved\n")
    await migrate(database_url, (changed,))
    with pytest.raises(Misconfigured, match="migration 0001_history of this agentpool is not the one that was applied"):
        await migrate(database_url)


async def test_a_schema_of_a_later_program_is_left_alone(database_url: str) -> None:
    await migrate(database_url)
    execute(database_url, "INSERT INTO agentpool.migrations (version, name, checksum) VALUES (999, 'later', '')")
    with pytest.raises(Misconfigured, match=f"has schema 999, but this agentpool knows {newest()} at most"):
        await migrate(database_url)


async def test_who_may_not_make_a_schema_is_told(database_url: str) -> None:
    with (
        login(database_url, operator=False) as url,
        pytest.raises(Refused, match="come as a user that may create schemas"),
    ):
        await migrate(url)


async def test_an_owner_that_may_not_make_roles_is_told_what_somebody_else_has_to_run(database_url: str) -> None:
    """The role may be there already, so the step is tried with another name."""
    steps = tuple(
        replace(step, text=step.text.replace("agentpool_operator", "ap_test_nobody")) for step in migrations()
    )
    with login(database_url, operator=False) as url:
        role = psycopg.conninfo.conninfo_to_dict(url)["user"]
        database = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        execute(database_url, f"GRANT CREATE ON DATABASE {database} TO {role}")
        with pytest.raises(Refused) as refused:
            await migrate(url, steps)
        assert (
            f"have somebody who may run 'CREATE ROLE agentpool_operator NOLOGIN' and 'GRANT agentpool_operator TO "
            f'"{role}"\' first'
        ) in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dbname": "ap_test_absent"}, "there is no database ap_test_absent at .*: create it, or correct DATABASE_URL"),
        ({"user": "ap_test_absent"}, "does not know the user: create it, or correct DATABASE_URL"),
        ({"host": "127.0.0.1", "port": "1"}, "cannot be reached: .*Connection refused"),
        ({"host": "absent.invalid"}, "cannot be found, its host name leads nowhere: correct DATABASE_URL"),
    ],
    ids=["database", "user", "port", "host"],
)
async def test_a_wrong_url_is_told_by_what_is_wrong_with_it(
    changes: dict[str, str], sentence: str, postgres_url: str
) -> None:
    with pytest.raises(Transient, match=sentence):
        await migrate(with_parts(postgres_url, **changes))
