"""Settings of the operator: command line options and AGENTPOOL_* environment variables."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from controller.backends import KNOWN
from controller.ledger import LedgerOptions

_PATH_SEGMENT = re.compile(r"[A-Za-z0-9_-]{16,}")


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in KNOWN:
            raise ValueError(f"there is no backend {name}: choose among {', '.join(KNOWN)}")
    return names


def _fits_a_path(secret: SecretStr) -> SecretStr:
    if not _PATH_SEGMENT.fullmatch(secret.get_secret_value()):
        raise ValueError(
            "it must have at least 16 characters, all of them letters, digits, - or _: it is part of a URL"
        )
    return secret


class Settings(BaseSettings):
    """Everything that can be said to ``agentpool run`` and ``agentpool standalone``."""

    model_config = SettingsConfigDict(env_prefix="AGENTPOOL_", frozen=True, extra="forbid")

    kubeconfig: Path | None = None
    """Where the API server is described. Absent: the service account of the pod, else KUBECONFIG or ~/.kube/config."""
    context: str | None = None
    """Context of the kubeconfig; its current one when absent."""
    namespaces: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Namespaces to serve, in the environment separated by commas; empty: all."""
    operator_namespace: str = "default"
    """Where the operator keeps its own Secret and its Lease."""
    http_host: str = "127.0.0.1"
    """Address for /healthz, /readyz and /metrics, and for webhooks."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8090
    """Port for the same."""
    webhook_secret: Annotated[SecretStr, AfterValidator(_fits_a_path)] | None = None
    """Railway may post its Deployment events to /webhooks/railway/ followed by this, so that changes are seen sooner.
    At least 16 letters, digits, - and _. Absent: there is no such page."""
    log_format: Literal["readable", "json"] = "readable"
    """One line of text or one JSON object per record."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe records that are shown."""
    backends: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_known)] = KNOWN
    """Backends that pools may use, in the environment separated by commas: process, docker, railway."""
    state_dir: Path = Path(".agentpool")
    """Where the process backend keeps its instances."""
    relist_seconds: Annotated[float, Field(ge=10)] = 600.0
    """How often the view is compared with the API server."""
    orphan_grace_seconds: Annotated[float, Field(ge=1)] = 60.0
    """How long a remote may have no owner before it is ended."""
    lease_name: Annotated[str, Field(min_length=1, max_length=253)] = "agentpool"
    """The Lease, in the operator's namespace, by which one of several replicas of ``agentpool run`` leads."""
    lease_duration_seconds: Annotated[int, Field(ge=1)] = 8
    """How long after its last sign of life another replica takes the place of one that died."""
    lease_margin_seconds: Annotated[float, Field(gt=0)] = 2.0
    """How long before another one can lead it stops, if it cannot renew: for stopping, and for clocks that run at
    different rates."""
    lease_renew_seconds: Annotated[float, Field(gt=0, validate_default=True)] = 2.0
    """How often the one that leads renews its Lease."""
    lease_poll_seconds: Annotated[float, Field(gt=0)] = 0.5
    """How often those that stand by look at the Lease: the wait after a clean stop."""

    @field_validator("lease_renew_seconds")
    @classmethod
    def _can_be_tried_twice(cls, renew: float, others: ValidationInfo) -> float:
        left = others.data.get("lease_duration_seconds", 0) - others.data.get("lease_margin_seconds", 0)
        if renew > left / 2:
            raise ValueError(
                f"{renew:g} is more than half of lease_duration_seconds less lease_margin_seconds ({left:g}), so a "
                "renewal that fails could not be tried again: raise lease_duration_seconds"
            )
        return renew

    database_url: SecretStr | None = None
    """The Postgres database of the ledger, for example postgresql://user:password@host:5432/agentpool. DATABASE_URL
    says the same, and gives way to this. Absent: there is no ledger."""
    ledger_store_content: bool = False
    """Whether the ledger keeps what people and agents say to each other: instructions, join URLs and invite URLs."""
    ledger_strict: bool = False
    """Whether a claim gets its agent only once Postgres has on record which one it gets: no record, no claim."""
    ledger_migrate_at_start: bool = False
    """Whether the operator brings the schema of the ledger up to date by itself. It then has to own it."""
    ledger_spool_dir: Path | None = None
    """Where the ledger's records wait until they are in Postgres: on a disk that lasts, and for each operator its own.
    Absent: ledger below the state directory."""
    ledger_spool_megabytes: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """How much may wait there."""

    @model_validator(mode="before")
    @classmethod
    def _plain_database_url(cls, given: Any) -> Any:
        plain = os.environ.get("DATABASE_URL")
        return {"database_url": plain, **given} if plain and isinstance(given, dict) else given

    @model_validator(mode="after")
    def _strict_needs_a_ledger(self) -> Self:
        if self.ledger_strict and self.database_url is None:
            raise ValueError(
                "ledger_strict is set, but no database is named: set AGENTPOOL_DATABASE_URL or DATABASE_URL"
            )
        return self

    def ledger_options(self) -> LedgerOptions | None:
        """How the ledger is opened; ``None`` when there is none."""
        if self.database_url is None:
            return None
        return LedgerOptions(
            url=self.database_url.get_secret_value(),
            spool=self.ledger_spool_dir or self.state_dir / "ledger",
            spool_bytes=self.ledger_spool_megabytes * 1024 * 1024,
            store_content=self.ledger_store_content,
            strict=self.ledger_strict,
            migrate_at_start=self.ledger_migrate_at_start,
        )
