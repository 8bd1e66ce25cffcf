"""What Postgres, and the line to it, do on a bad day."""

import random
import secrets
import threading
from collections.abc import Callable

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier, Literal

from tests.faults.bad_day import BadDay
from tests.faults.fault import POSTGRES, Fault
from tests.faults.stage import Stage
from tests.ledger.proxy import Line

_KILLS, _KILL_SECONDS = 40, 0.05


class _OfLine(Fault):
    """Something is done to the line, and undone."""

    peer = POSTGRES
    lasts = 3.0

    def __init__(
        self,
        name: str,
        sentence: str,
        begin: Callable[[Line], None],
        end: Callable[[Line], None],
    ) -> None:
        self.name, self.sentence = name, sentence
        self._begin, self._end = begin, end

    def strike(self, stage: Stage, dice: random.Random) -> None:
        stage.loop.call(lambda: self._begin(stage.line))

    def heal(self, stage: Stage) -> None:
        stage.loop.call(lambda: self._end(stage.line))


class _LostAnswers(Fault):
    """The answer to what was just sent is lost with its connection, several times."""

    name = "Postgres' answers get lost"
    sentence = "what was sent is carried out, and the connection breaks before the answer, three times"
    peer = POSTGRES

    def __init__(self) -> None:
        self._lost = 0

    def strike(self, stage: Stage, dice: random.Random) -> None:
        self._lost = 0
        self._deafen(stage)

    def heal(self, stage: Stage) -> None:
        stage.line.deaf = False

    def lingers(self, stage: Stage) -> bool:
        if not stage.line.deaf:
            self._lost += 1
            self._deafen(stage)
        return self._lost < 3

    def struck(self, stage: Stage) -> bool:
        return self._lost >= 3

    @staticmethod
    def _deafen(stage: Stage) -> None:
        stage.line.deaf = True


class _NoConnectionFree(Fault):
    """The server itself says so: whoever comes is somebody who may have no connection."""

    name = "Postgres has no connection free"
    sentence = "every connection is broken, and new ones are refused by the server with 53300"
    peer = POSTGRES
    lasts = 3.0

    def __init__(self) -> None:
        self._role = ""

    def strike(self, stage: Stage, dice: random.Random) -> None:
        self._role = f"ap_full_{secrets.token_hex(4)}"
        password = str(conninfo_to_dict(stage.database_url).get("password") or "")
        made = SQL("CREATE ROLE {} LOGIN CONNECTION LIMIT 0 PASSWORD {}")
        with psycopg.connect(stage.database_url, autocommit=True) as connection:
            connection.execute(made.format(Identifier(self._role), Literal(password or "none")))

        def begin() -> None:
            stage.line.comes_as = self._role
            stage.line.cut()

        stage.loop.call(begin)

    def heal(self, stage: Stage) -> None:
        stage.line.comes_as = None
        with psycopg.connect(stage.database_url, autocommit=True) as connection:
            connection.execute(SQL("DROP ROLE {}").format(Identifier(self._role)))

    def lingers(self, stage: Stage) -> bool:
        return not self.struck(stage)

    def struck(self, stage: Stage) -> bool:
        return any("has no free connection" in operator.output for operator in stage.operators)


class _KilledSessions(Fault):
    """``pg_terminate_backend``, whatever the session is about."""

    name = "Postgres ends every session"
    sentence = "every session is ended by pg_terminate_backend, in the middle of whatever it does, for two seconds"
    peer = POSTGRES

    def __init__(self) -> None:
        self._killing: threading.Thread | None = None
        self._killed = 0

    def strike(self, stage: Stage, dice: random.Random) -> None:
        self._killed = 0
        self._killing = threading.Thread(target=self._kill, args=(stage.database_url, dice))
        self._killing.start()

    def heal(self, stage: Stage) -> None:
        assert self._killing is not None
        self._killing.join()

    def struck(self, stage: Stage) -> bool:
        return self._killed > 0

    def _kill(self, url: str, dice: random.Random) -> None:
        pause = threading.Event()
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with psycopg.connect(url, autocommit=True) as connection:
            for _ in range(_KILLS):
                row = connection.execute(query).fetchone()
                self._killed += int(row[0]) if row is not None else 0
                pause.wait(dice.uniform(0, 2 * _KILL_SECONDS))


class _FailingTransactions(Fault):
    """The first of the statements that write fail, as the server says it where two get in each other's way."""

    peer = POSTGRES

    def __init__(self, name: str, sentence: str, code: str) -> None:
        self.name, self.sentence = name, sentence
        self._code, self._failures = code, 3

    def strike(self, stage: Stage, dice: random.Random) -> None:
        # A sequence counts on, although what failed is rolled back.
        function = SQL(
            "CREATE FUNCTION public.trouble() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
            " IF nextval('public.troubles') <= {} THEN RAISE EXCEPTION 'trouble' USING ERRCODE = {}; END IF;"
            " RETURN NULL; END $$"
        ).format(Literal(self._failures), Literal(self._code))
        trigger = SQL(
            "CREATE TRIGGER trouble AFTER INSERT ON agentpool.{} FOR EACH STATEMENT EXECUTE FUNCTION public.trouble()"
        )
        with psycopg.connect(stage.database_url, autocommit=True) as connection:
            connection.execute("CREATE SEQUENCE public.troubles")
            connection.execute(function)
            for table in ("claim_history", "instance_history"):
                connection.execute(trigger.format(Identifier(table)))

    def heal(self, stage: Stage) -> None:
        with psycopg.connect(stage.database_url, autocommit=True) as connection:
            connection.execute("DROP FUNCTION public.trouble CASCADE")

    def lingers(self, stage: Stage) -> bool:
        return not self.struck(stage)

    def struck(self, stage: Stage) -> bool:
        with psycopg.connect(stage.database_url, autocommit=True) as connection:
            row = connection.execute("SELECT last_value, is_called FROM public.troubles").fetchone()
        return row is not None and bool(row[1]) and int(row[0]) >= self._failures


class _Locked(Fault):
    """Somebody else holds the table: a statement waits for as long as it may."""

    name = "Postgres holds a table locked"
    sentence = "another session holds the tables of the history locked for three seconds"
    peer = POSTGRES
    lasts = 3.0

    def __init__(self) -> None:
        self._holder: psycopg.Connection[tuple[object, ...]] | None = None

    def strike(self, stage: Stage, dice: random.Random) -> None:
        self._holder = psycopg.connect(stage.database_url)
        self._holder.execute("LOCK TABLE agentpool.claim_history, agentpool.instance_history IN ACCESS EXCLUSIVE MODE")

    def heal(self, stage: Stage) -> None:
        assert self._holder is not None
        self._holder.close()


def _go_away(line: Line) -> None:
    line.refuses = True
    line.cut()


def _come_back(line: Line) -> None:
    line.refuses = False


def _slow_down(line: Line) -> None:
    line.delay = 1.0


def _hurry(line: Line) -> None:
    line.delay = 0.0


def _fall_silent(line: Line) -> None:
    line.speaks.clear()


def _speak(line: Line) -> None:
    line.speaks.set()


class _BadDay(BadDay):
    """Somebody leads all the time, so everything is to be recorded."""

    leaderless = False


_DOWN = _OfLine("Postgres is down", "every connection is broken, and new ones are closed at once", _go_away, _come_back)
_DEADLOCK = _FailingTransactions("transactions deadlock", "three writes fail with 40P01", "40P01")
_LOST = _LostAnswers()

POSTGRES_FAULTS: tuple[Fault, ...] = (
    _BadDay(
        "a bad day of Postgres",
        "it is down, then its answers get lost, then transactions deadlock",
        POSTGRES,
        [_DOWN, _LOST, _DEADLOCK],
        quick=True,
    ),
    _DOWN,
    _LOST,
    _DEADLOCK,
    _OfLine("Postgres is slow", "each answer takes a second longer", _slow_down, _hurry),
    _OfLine("Postgres says nothing", "nothing gets through, and nothing is closed", _fall_silent, _speak),
    _NoConnectionFree(),
    _KilledSessions(),
    _Locked(),
    _FailingTransactions("transactions cannot be serialized", "three writes fail with 40001", "40001"),
    _FailingTransactions("Postgres' disk is full", "three writes fail with 53100", "53100"),
)
