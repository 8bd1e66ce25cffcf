"""What must be in the ledger, read off everything that happened, and what is there."""

import psycopg

from controller.core.transitions import derive
from controller.model import AgentClaim, AgentInstance
from tests.e2e.api import Object
from tests.faults.witness import Witness

Key = tuple[str, str]
"""A transition of one object, and what tells it from another one of the same."""
Rows = dict[str, list[Key]]
"""For each object, by uid: its transitions in order."""

_KINDS: dict[str, type[AgentClaim | AgentInstance]] = {"agentclaims": AgentClaim, "agentinstances": AgentInstance}


def expected(witness: Witness) -> Rows:
    """What happened, in the order in which it did."""
    rows: Rows = {}
    for plural, kind in _KINDS.items():
        for uid, events in witness.of(plural).items():
            rows[uid] = _of_one(kind, events)
    return rows


def recorded(url: str) -> Rows:
    """What the ledger says, in the order of arrival."""
    rows: Rows = {}
    with psycopg.connect(url) as connection:
        for table in ("claim_history", "instance_history"):
            query = f"SELECT uid, transition, ordinal FROM agentpool.{table} ORDER BY id"
            for uid, transition, ordinal in connection.execute(query).fetchall():
                rows.setdefault(uid, []).append((transition, ordinal))
    return rows


def _of_one(kind: type[AgentClaim | AgentInstance], events: list[tuple[str, Object]]) -> list[Key]:
    keys: dict[Key, None] = {}
    before: AgentClaim | AgentInstance | None = None
    for what, obj in events:
        thing = kind.parse(obj)
        for record in (*derive(before, thing), *(derive(thing, None) if what == "DELETED" else ())):
            keys.setdefault((str(record.transition), record.ordinal))
        before = thing
    return list(keys)
