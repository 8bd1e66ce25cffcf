"""Whether a scenario ended right: judged by what the client saw, what the runtimes saw and what is stored."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench.claims import SeenClaim

_SHOWN = 3


def faults(
    claims: Sequence[SeenClaim], ledger: Mapping[str, Any], stored: Sequence[Mapping[str, Any]], max_total: int
) -> list[str]:
    """One sentence for each kind of fault; none when everything is as it must be.

    ``ledger`` is the world's, ``stored`` the AgentInstances as they were listed while the claims were held.
    """
    named = {instance["name"]: instance for instance in ledger["instances"]}
    sentences = [
        _sentence("claims were never Bound", (claim.name for claim in claims if claim.bound_at is None)),
        _sentence(
            "claims were moved or changed after they were given an instance",
            (claim.name for claim in claims if claim.rebound),
        ),
        _sentence("Bound claims have no conversation at their instance", _unfounded(claims, named)),
        _sentence("instances were given to two claims", _given_twice(claims, ledger)),
        _sentence("claims have two conversations", _talking_twice(ledger)),
        _sentence("claims own two instances", _owning_twice(stored)),
    ]
    if ledger["peak"] > max_total:
        sentences.append(f"{ledger['peak']} instances ran at the same time, maxTotal is {max_total}")
    if len(stored) > max_total:
        sentences.append(f"{len(stored)} AgentInstances existed, maxTotal is {max_total}")
    return [sentence for sentence in sentences if sentence]


def leaks(ledger: Mapping[str, Any]) -> list[str]:
    """A sentence if an instance still runs after its pool is gone."""
    left = [instance["name"] for instance in ledger["instances"] if instance["alive"]]
    return [sentence for sentence in [_sentence("instances still run although their pool is gone", left)] if sentence]


def _sentence(what: str, names: Iterable[str]) -> str:
    found = sorted(set(names))
    shown = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
    return f"{len(found)} {what}: {shown}" if found else ""


def _unfounded(claims: Sequence[SeenClaim], named: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    for claim in claims:
        if claim.bound_at is None:
            continue
        instance = named.get(claim.instance or "")
        held = instance is not None and instance["keys"][:1] == [claim.uid]
        if instance is None or not held or instance["conversation"] != claim.conversation:
            yield claim.name


def _given_twice(claims: Sequence[SeenClaim], ledger: Mapping[str, Any]) -> Iterable[str]:
    yield from (instance["name"] for instance in ledger["instances"] if len(instance["keys"]) > 1)
    owners: dict[str, set[str]] = defaultdict(set)
    for claim in claims:
        if claim.instance is not None:
            owners[claim.instance].add(claim.name)
    yield from (name for name, names in owners.items() if len(names) > 1)


def _talking_twice(ledger: Mapping[str, Any]) -> Iterable[str]:
    conversations: dict[str, int] = defaultdict(int)
    for instance in ledger["instances"]:
        if instance["conversation"] is not None:
            conversations[instance["keys"][0]] += 1
    return (key for key, count in conversations.items() if count > 1)


def _owning_twice(stored: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    owned: dict[str, int] = defaultdict(int)
    for instance in stored:
        reference = instance["spec"].get("claimRef")
        if reference is not None:
            owned[reference["name"]] += 1
    return (name for name, count in owned.items() if count > 1)
