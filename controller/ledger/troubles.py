"""What Postgres' errors mean for a person, and for whoever wants to try again."""

import re
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from controller.errors import AgentpoolError, Misconfigured, Refused, Transient

MIGRATE = "run 'agentpool ledger migrate' as the owner of the database, or set AGENTPOOL_LEDGER_MIGRATE_AT_START=true"

_NOISE = re.compile(r"^((connection failed|connection is bad|consuming input failed|sending query failed): )+")


def checked(url: str) -> str:
    """The URL as libpq takes it; ``Misconfigured`` when it cannot be one. No message ever holds a password."""
    # Only libpq takes it apart: others stumble over passwords that libpq takes, and quote them in their errors.
    scheme, separator, _ = url.partition("://")
    if separator and scheme not in ("postgres", "postgresql"):
        raise Misconfigured(
            "DATABASE_URL must begin with postgresql://, for example postgresql://user@host:5432/database"
        )
    try:
        if _is_torn(conninfo_to_dict(url)):
            raise ValueError(url)
        return make_conninfo(url, connect_timeout=_seconds(url))
    except (psycopg.ProgrammingError, ValueError):
        raise Misconfigured(
            "DATABASE_URL cannot be read: write it like postgresql://user:password@host:5432/database, with special "
            "characters of the password percent-encoded"
        ) from None


def _is_torn(parts: dict[str, Any]) -> bool:
    """Whether a / or @ in a password has made a part of it pass for host, port or database, which messages name."""
    torn = any("@" in str(parts.get(name) or "") for name in ("host", "hostaddr", "dbname"))
    return torn or not re.fullmatch(r"[0-9,]*", str(parts.get("port") or ""))


def _seconds(url: str) -> int:
    return int(conninfo_to_dict(url).get("connect_timeout") or 5)


def where(conninfo: str) -> str:
    """Which database that is, in words without secrets."""
    parts = conninfo_to_dict(conninfo)
    host, port = parts.get("host") or "the local socket", parts.get("port")
    # Whose colon is percent-encoded, too, has a password in what passes for the user.
    name = parts.get("dbname") or "of its user's name"
    return f"database {name} at {host}" + (f":{port}" if port and not str(host).startswith("/") else "")


def explained(error: Exception, conninfo: str) -> AgentpoolError:
    """The same in a sentence. ``Transient``: it may pass by itself; ``Refused``: only a person can mend it."""
    place = where(conninfo)
    match error:
        case (
            errors.UndefinedTable() | errors.InvalidSchemaName() | errors.UndefinedFunction() | errors.UndefinedColumn()
        ):
            return Refused("NotMigrated", f"the ledger's tables are not in {place}: {MIGRATE}")
        case errors.InsufficientPrivilege():
            said = _first_line(error)
            return Refused(
                "NoRight",
                f"the ledger may not do that in {place} ({said}): grant the role agentpool_operator to its user, or "
                "for migrate and prune come as the owner of the schema agentpool",
            )
        case errors.DataError() | errors.IntegrityError():
            return Refused("NotStorable", f"{place} does not take what it was given: {_first_line(error)}")
        case errors.TooManyConnections() | errors.ConfigurationLimitExceeded():
            return Transient(f"{place} has no free connection: {_first_line(error)}")
        case errors.QueryCanceled():
            return Transient(f"{place} did not answer in time: {_first_line(error)}")
        case errors.ReadOnlySqlTransaction():
            return Transient(f"{place} is read-only, as a standby is: name its primary")
        case psycopg.OperationalError():
            return Transient(_unreachable(error, place))
        case _:
            return Transient(f"{place} answered with something unforeseen: {_first_line(error)}")


def _unreachable(error: Exception, place: str) -> str:
    said = _first_line(error)
    if "does not exist" in said and "database" in said:
        return f"there is no {place}: create it, or correct DATABASE_URL"
    if "authentication failed" in said or "no password supplied" in said or "pg_hba" in said:
        return f"{place} refuses the login: correct user and password in DATABASE_URL"
    if "does not exist" in said and "role" in said:
        return f"{place} does not know the user: create it, or correct DATABASE_URL"
    if "could not translate" in said or "resolve" in said or "Name or service not known" in said:
        return f"{place} cannot be found, its host name leads nowhere: correct DATABASE_URL"
    if "too many clients" in said or "connection slots are reserved" in said or "too many connections" in said:
        return f"{place} has no free connection: raise its max_connections or the limit of its user, or end others"
    if isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08")[:2] not in ("08", "57"):
        return f"{place} cannot do it now: {said}"
    return f"{place} cannot be reached: {said}"


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    # libpq tells of each address that it tried; the first one is as good as any.
    return _NOISE.sub("", text.splitlines()[0].strip()).rstrip(".")
