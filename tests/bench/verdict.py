"""Whether a scenario ended right: judged by what the client saw, what the runtimes saw and what is stored."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
        *_unsteady(claims),
        _sentence("Bound claims have no conversation at their instance", _unfounded(claims, named)),
        _sentence("instances were given to two claims", [*_refusing(ledger), *_owned_twice(claims)]),
        _sentence("claims have two conversations", _talking_twice(ledger)),
        _sentence("claims own two instances", _owning_twice(stored)),
    ]
    if ledger["peak"] > max_total:
        sentences.append(f"{ledger['peak']} instances ran at the same time, maxTotal is {max_total}")
    if len(stored) > max_total:
        sentences.append(f"{len(stored)} AgentInstances existed, maxTotal is {max_total}")
    return [sentence for sentence in sentences if sentence]


@dataclass(frozen=True, slots=True)
class Sight:
    """What there was while one claim was held."""

    claim: str
    stored: Sequence[Mapping[str, Any]]
    """The AgentInstances as they were listed."""
    remotes: int
    """How many containers, or services, there were."""
    conversation: str | None
    """In which the agent there said it was."""


def remote_faults(claims: Sequence[SeenClaim], sights: Sequence[Sight], max_total: int, remotes: str) -> list[str]:
    """The same as ``faults`` where instances are real, and tell only of themselves; ``remotes`` is what they are."""
    told = {sight.claim: sight.conversation for sight in sights}
    sentences = [
        *_unsteady(claims),
        _sentence(
            "Bound claims have no conversation at their instance",
            (
                claim.name
                for claim in claims
                if claim.bound_at is not None
                and (claim.conversation is None or told.get(claim.name) != claim.conversation)
            ),
        ),
        _sentence("instances were given to two claims", _owned_twice(claims)),
        _sentence("conversations belong to two claims", _shared(claims)),
        _sentence("claims own two instances", (name for sight in sights for name in _owning_twice(sight.stored))),
    ]
    existed = max((sight.remotes for sight in sights), default=0)
    instances = max((len(sight.stored) for sight in sights), default=0)
    if existed > max_total:
        sentences.append(f"{existed} {remotes} existed, maxTotal is {max_total}")
    if instances > max_total:
        sentences.append(f"{instances} AgentInstances existed, maxTotal is {max_total}")
    return [sentence for sentence in sentences if sentence]


def railway_faults(state: Mapping[str, Any]) -> list[str]:
    """What was wrong with what was asked of Railway; ``state`` is all that the twin tells."""
    counts = state["counts"]
    deployments = counts["deployments"]
    sentences = [
        _sentence("instances had two services", counts["doubles"]),
        _sentence("services booted without all of their variables", state["incompleteBoots"]),
        _sentence("services were deployed twice", (name for name, number in deployments.items() if number > 1)),
        _sentence("operations went over the limits of the plan", counts["violations"]),
    ]
    if counts["concurrentCommits"]:
        sentences.append(f"{counts['concurrentCommits']} commits came while another one was under way")
    if counts["unidentified"]:
        sentences.append(f"{counts['unidentified']} requests did not say where they came from")
    return [sentence for sentence in sentences if sentence]


def remains(names: Sequence[str], remotes: str) -> list[str]:
    """A sentence if remotes of a pool, or their volumes, are left after its end."""
    sentence = _sentence(f"{remotes} or volumes are left although their pool is gone", names)
    return [sentence] if sentence else []


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


def _unsteady(claims: Sequence[SeenClaim]) -> list[str]:
    return [
        _sentence("claims were never Bound", (claim.name for claim in claims if claim.bound_at is None)),
        _sentence(
            "claims were moved or changed after they were given an instance",
            (claim.name for claim in claims if claim.rebound),
        ),
    ]


def _refusing(ledger: Mapping[str, Any]) -> Iterable[str]:
    return (instance["name"] for instance in ledger["instances"] if len(instance["keys"]) > 1)


def _owned_twice(claims: Sequence[SeenClaim]) -> Iterable[str]:
    owners: dict[str, set[str]] = defaultdict(set)
    for claim in claims:
        if claim.instance is not None:
            owners[claim.instance].add(claim.name)
    return (name for name, names in owners.items() if len(names) > 1)


def _shared(claims: Sequence[SeenClaim]) -> Iterable[str]:
    times = Counter(claim.conversation for claim in claims if claim.conversation is not None)
    return (conversation for conversation, number in times.items() if number > 1)


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
