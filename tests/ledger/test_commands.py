"""agentpool ledger, as a person types it."""

import csv
import io
import json
from pathlib import Path

import pytest

from controller.core.transitions import derive
from controller.ledger import LedgerOptions, open_ledger
from controller.ledger.schema import newest
from tests.commands.terminal import Done, Terminal
from tests.core.builders import at, claim, instance
from tests.ledger.conftest import Clock, at_work, execute, login, soon
from tests.postgres.plugin import with_parts

CLAIMED = {"phase": "Claimed", "launchedAt": at(-20), "readyAt": at(-10), "claimedAt": at(2.5)}
BOUND = {"phase": "Bound", "boundAt": at(2.5), "instance": "one", "conversationId": "c-1"}


@pytest.fixture
async def terminal(ledger_url: str, tmp_path: Path, clock: Clock) -> Terminal:
    """Where the ledger knows of one claim that is served, and one that failed with a message of ill will."""
    failed = claim("bob", created=86_400, agentName="Bob", status={"phase": "Failed", "message": "no\x1b[31m\nluck"})
    clock.jump(3)
    async with at_work(open_ledger(LedgerOptions(ledger_url, tmp_path / "spool"), clock)) as ledger:
        ledger.record(derive(None, instance("one", claim="wish", status=CLAIMED)))
        ledger.record(derive(None, claim("wish", agentName="Ada", status=BOUND)))
        ledger.record(derive(None, failed))
        for name in ("one", "wish", "bob"):
            await soon(ledger.settled(f"uid-{name}"))
    return Terminal(tmp_path, DATABASE_URL=ledger_url)


def table(done: Done) -> list[list[str]]:
    assert (done.code, done.said) == (0, "")
    return [line.split() for line in done.out.decode().splitlines()]


def test_claims_are_a_table(terminal: Terminal) -> None:
    heading, bob, wish = table(terminal.run("ledger", "claims"))
    assert heading[:6] == ["CREATED", "NAMESPACE", "CLAIM", "POOL", "AGENT", "OUTCOME"]
    assert " ".join(wish) == "2026-03-01 12:00:00.000Z default wish helpers Ada Bound 2.500s 0.000s - one process c-1 -"
    assert " ".join(bob[2:]) == "default bob helpers Bob Failed - - - - - - -"


def test_claims_as_json_hold_everything(terminal: Terminal) -> None:
    done = terminal.run("ledger", "claims", "--agent", "Ada", "--output", "json")
    [found] = json.loads(done.out)
    assert found["bound_at"] == "2026-03-01T12:00:02.500000Z"
    assert (found["queued_seconds"], found["instance_uid"], found["labels"]) == (2.5, "uid-one", {})
    assert found["instructions"] is None


def test_claims_as_csv_have_a_line_each(terminal: Terminal) -> None:
    done = terminal.run("ledger", "claims", "-o", "csv")
    bob, wish = csv.DictReader(io.StringIO(done.out.decode()))
    assert (wish["claim"], wish["bound_at"], wish["held"]) == ("wish", "2026-03-01T12:00:02.500000Z", "[]")
    assert bob["message"] == "no\x1b[31m\nluck"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--day", "2026-03-01"], ["wish"]),
        (["--since", "2026-03-02"], ["bob"]),
        (["--until", "2026-03-01T13:00+01:00"], []),
        (["--until", "2026-03-01T13:01+01:00"], ["wish"]),
        (["--pool", "none"], []),
        (["--namespace", "default", "--agent", "Bob"], ["bob"]),
    ],
)
def test_claims_are_chosen(arguments: list[str], found: list[str], terminal: Terminal) -> None:
    done = terminal.run("ledger", "claims", "-o", "json", *arguments)
    assert [each["claim"] for each in json.loads(done.out)] == found


def test_what_was_left_out_for_the_limit_is_said(terminal: Terminal) -> None:
    done = terminal.run("ledger", "claims", "--limit", "1", "-o", "json")
    assert [each["claim"] for each in json.loads(done.out)] == ["bob"]
    assert done.said == "agentpool: these are the newest 1: narrow the choice, or raise --limit\n"


def test_history_is_a_table_that_a_terminal_can_bear(terminal: Terminal) -> None:
    done = terminal.run("ledger", "history", "bob")
    assert b"\x1b" not in done.out
    assert [line[5] for line in table(done)[1:]] == ["Created", "Failed"]
    assert b"no [31m luck" in done.out


def test_history_of_a_claim_by_uid_tells_of_its_instance(terminal: Terminal) -> None:
    done = terminal.run("ledger", "history", "uid-wish", "-o", "json")
    kinds = [f"{each['kind']} {each['transition']}" for each in json.loads(done.out)]
    assert kinds[-3:] == ["AgentInstance Bound", "AgentClaim Bound", "AgentInstance Claimed"]


def test_usage_counts(terminal: Terminal) -> None:
    done = terminal.run("ledger", "usage", "--by", "day", "-o", "csv")
    first, second = csv.DictReader(io.StringIO(done.out.decode()))
    assert (first["subject"], first["bound"], first["held_now"]) == ("2026-03-01", "1", "1")
    assert (second["subject"], second["failed"]) == ("2026-03-02", "1")
    assert table(terminal.run("ledger", "usage"))[1][:3] == ["default/helpers", "2", "1"]


def test_migrate_says_what_it_did(terminal: Terminal, database_url: str) -> None:
    first = terminal.run("ledger", "migrate", DATABASE_URL=database_url)
    assert first.out.decode().splitlines()[0] == "applied 0001_history"
    assert f"has schema {newest()}\n" in first.out.decode()
    again = terminal.run("ledger", "migrate", DATABASE_URL=database_url)
    assert again.out.decode().endswith(f"has schema {newest()}: nothing to do\n")


def test_prune_says_what_it_did(terminal: Terminal, database_url: str) -> None:
    terminal.run("ledger", "migrate", DATABASE_URL=database_url)
    nothing = terminal.run("ledger", "prune", "--before", "2026-05-01", DATABASE_URL=database_url)
    assert nothing.out == b"no month of history ended by 2026-05-01: nothing to drop\n"
    execute(database_url, "SELECT agentpool.ensure_month('2026-03-01')")
    dry = terminal.run("ledger", "prune", "--before", "2026-04-01", "--dry-run", DATABASE_URL=database_url)
    assert table(dry) == [["MONTH", "DECIDED"], ["2026-03", "would", "be", "dropped"]]
    assert table(terminal.run("ledger", "prune", "--before", "2026-04-01", DATABASE_URL=database_url))[1] == [
        "2026-03",
        "dropped",
    ]


def test_prune_says_what_it_kept_and_why(terminal: Terminal) -> None:
    done = terminal.run("ledger", "prune", "--before", "2027-01-01", "--dry-run")
    told = b"2026-03  kept: 2 claims and 1 instances that were made in it are still there, or never seen to end"
    assert told in done.out
    assert b"if you know that they are gone, add --even-open" in done.out


def test_prune_drops_what_was_never_seen_to_end_where_it_is_told_to(terminal: Terminal) -> None:
    prune = ["ledger", "prune", "--before", "2027-01-01", "--even-open"]
    open_ones = b"with 2 claims and 1 instances that were made in it and never seen to end"
    assert b"2026-03  would be dropped, " + open_ones in terminal.run(*prune, "--dry-run").out
    assert b"2026-03  dropped, " + open_ones in terminal.run(*prune).out
    assert terminal.run(*prune).out == b"no month of history ended by 2027-01-01: nothing to drop\n"


@pytest.mark.parametrize(
    ("url", "arguments", "sentence"),
    [
        ("", ["claims"], "no database is named: set DATABASE_URL to that of the ledger, for example postgresql://"),
        ("mysql://x/y", ["claims"], "DATABASE_URL must begin with postgresql://"),
        ("postgresql://u:canary%zz@h/d", ["usage"], "DATABASE_URL cannot be read: write it like postgresql://"),
        ("postgresql://u:canary@127.0.0.1:1/d", ["usage"], "database d at 127.0.0.1:1 cannot be reached: "),
        ("postgresql://u:canary@absent.invalid/d", ["migrate"], "its host name leads nowhere: correct DATABASE_URL"),
        (None, ["history", "nobody"], "the ledger knows no claim or instance of the name or uid 'nobody': see "),
        (None, ["claims", "--day", "2026-03-01", "--since", "2026-03-01"], "--day stands alone"),
    ],
    ids=["no URL", "another database", "unreadable", "unreachable", "host", "unknown name", "day and since"],
)
def test_what_is_wrong_is_told_in_a_sentence(
    url: str | None, arguments: list[str], sentence: str, terminal: Terminal
) -> None:
    environment = {"DATABASE_URL": url} if url is not None else {}
    done = terminal.run("ledger", *arguments, **environment)
    assert (done.code, done.out) == (1, b"")
    assert done.said.startswith("agentpool: ")
    assert sentence in done.said
    assert done.said.count("\n") == 1
    assert "canary" not in done.said


def test_a_date_that_is_none_is_told_before_anything_is_asked(terminal: Terminal) -> None:
    done = terminal.run("ledger", "prune", "--before", "yesterday")
    assert done.code == 2
    assert "'yesterday' is no date: write it like 2026-03-01" in done.said


def test_a_database_without_the_schema_is_told(terminal: Terminal, database_url: str) -> None:
    done = terminal.run("ledger", "claims", DATABASE_URL=database_url)
    assert done.code == 1
    assert "has no schema yet: run 'agentpool ledger migrate' as the owner" in done.said


def test_a_schema_that_is_newer_than_the_program_is_told(terminal: Terminal, database_url: str) -> None:
    terminal.run("ledger", "migrate", DATABASE_URL=database_url)
    execute(database_url, "INSERT INTO agentpool.migrations (version, name, checksum) VALUES (999, 'later', '')")
    for command in (["claims"], ["migrate"], ["prune", "--before", "2026-01-01"]):
        done = terminal.run("ledger", *command, DATABASE_URL=database_url)
        assert done.code == 1
        assert "has schema 999, but this agentpool knows" in done.said


def test_a_login_without_rights_is_told(terminal: Terminal, ledger_url: str) -> None:
    with login(ledger_url, operator=False) as url:
        done = terminal.run("ledger", "claims", DATABASE_URL=url)
    assert done.code == 1
    assert "grant the role agentpool_operator to its user" in done.said


def test_an_unknown_database_is_told(terminal: Terminal, ledger_url: str) -> None:
    done = terminal.run("ledger", "claims", DATABASE_URL=with_parts(ledger_url, dbname="absent"))
    assert "there is no database absent at " in done.said
