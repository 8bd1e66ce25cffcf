"""agentpool ledger: what people ask of the ledger, and what its owner does for it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click

from controller.commands.invocation import put_out
from controller.commands.ledger_output import Form, aligned, written
from controller.errors import Misconfigured, Missing
from controller.ledger.questions import Choice, opened_for_reading
from controller.ledger.retention import Month, prune
from controller.ledger.schema import migrate, newest
from controller.ledger.troubles import checked, where
from controller.settings import Settings

_HISTORY = {
    "at": "TIME",
    "kind": "KIND",
    "namespace": "NAMESPACE",
    "name": "NAME",
    "transition": "TRANSITION",
    "reason": "REASON",
    "message": "MESSAGE",
}
_CLAIMS = {
    "created_at": "CREATED",
    "namespace": "NAMESPACE",
    "claim": "CLAIM",
    "pool": "POOL",
    "agent": "AGENT",
    "outcome": "OUTCOME",
    "queued_seconds": "QUEUED",
    "provision_seconds": "PROVISIONED",
    "held_seconds": "HELD",
    "instance": "INSTANCE",
    "backend": "BACKEND",
    "conversation_id": "CONVERSATION",
    "reason": "REASON",
}
_USAGE = {
    "claims": "CLAIMS",
    "bound": "BOUND",
    "waiting": "WAITING",
    "withdrawn": "WITHDRAWN",
    "failed": "FAILED",
    "evicted": "EVICTED",
    "expired": "EXPIRED",
    "held_now": "HELD NOW",
    "median_bind_seconds": "MEDIAN BIND",
    "p95_bind_seconds": "P95 BIND",
    "agent_hours": "AGENT HOURS",
}


@dataclass(frozen=True, slots=True)
class Period:
    """When the claims were made that somebody asks for, as they wrote it."""

    day: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None

    def bounds(self) -> tuple[datetime | None, datetime | None]:
        """First moment, and the first one after it."""
        if self.day is None:
            return self.since, self.until
        if self.since is not None or self.until is not None:
            raise Misconfigured("--day stands alone: leave it out, or --since and --until")
        return self.day, self.day + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which claims, and how they are shown."""

    namespace: str | None
    agent: str | None
    pool: str | None
    period: Period
    form: Form

    def choice(self) -> Choice:
        """In the words of the ledger."""
        since, until = self.period.bounds()
        return Choice(self.namespace, self.agent, self.pool, since, until)


async def migrate_ledger(settings: Settings) -> None:
    """Bring the schema up to date, and say what was done."""
    conninfo = checked(_url(settings))
    applied = await migrate(conninfo)
    for step in applied:
        click.echo(f"applied {step.version:04}_{step.name}")
    click.echo(f"the ledger in {where(conninfo)} has schema {newest()}" + ("" if applied else ": nothing to do"))


async def show_history(wanted: str, namespace: str | None, form: Form, settings: Settings) -> None:
    """Everything that happened to a claim or an instance."""
    async with opened_for_reading(_url(settings)) as ledger:
        answer = await ledger.history(wanted, namespace)
    if not answer.rows:
        place = f" in namespace {namespace}" if namespace else ""
        raise Missing(
            f"the ledger knows no claim or instance of the name or uid {wanted!r}{place}: see 'agentpool ledger claims'"
        )
    put_out(written(answer, form, _HISTORY))


async def show_claims(wanted: Wanted, limit: int, settings: Settings) -> None:
    """The newest claims that fit."""
    choice = wanted.choice()
    async with opened_for_reading(_url(settings)) as ledger:
        answer = await ledger.claims(choice, limit)
    put_out(written(answer, wanted.form, _CLAIMS))
    if len(answer.rows) == limit:
        click.echo(f"agentpool: these are the newest {limit}: narrow the choice, or raise --limit", err=True)


async def show_usage(wanted: Wanted, by: str, settings: Settings) -> None:
    """Claims counted."""
    choice = wanted.choice()
    async with opened_for_reading(_url(settings)) as ledger:
        answer = await ledger.usage(choice, by, datetime.now(UTC))
    put_out(written(answer, wanted.form, {"subject": by.upper()} | _USAGE))


async def prune_ledger(before: datetime, dry_run: bool, even_open: bool, settings: Settings) -> None:
    """Drop old months, and say what was done with each."""
    months = await prune(_url(settings), before, dry_run=dry_run, even_open=even_open)
    if not months:
        click.echo(f"no month of history ended by {before:%Y-%m-%d}: nothing to drop")
        return
    lines = [[f"{month.first:%Y-%m}", _decided(month, dry_run)] for month in months]
    put_out(aligned([["MONTH", "DECIDED"], *lines]).encode())


def _decided(month: Month, dry_run: bool) -> str:
    open_ones = f"{month.claims} claims and {month.instances} instances that were made in it"
    if month.dropped:
        decided = "would be dropped" if dry_run else "dropped"
        return f"{decided}, with {open_ones} and never seen to end" if month.claims or month.instances else decided
    return f"kept: {open_ones} are still there, or never seen to end: if you know that they are gone, add --even-open"


def _url(settings: Settings) -> str:
    if settings.database_url is None:
        raise Misconfigured(
            "no database is named: set DATABASE_URL to that of the ledger, for example "
            "postgresql://user:password@host:5432/agentpool"
        )
    return settings.database_url.get_secret_value()
