"""What must hold after every run, whatever happened in it."""

import time

from tests.e2e.api import Object
from tests.e2e.commands import MISTAKES
from tests.e2e.system import name_of, uid_of
from tests.faults.expected import Key, expected, recorded
from tests.faults.fault import Fault
from tests.faults.stage import Stage
from tests.faults.story import POOL, Story

QUIET_SECONDS = 1.5


def check_while_it_lives(story: Story) -> None:
    """Every claim has its instance and its conversation, each its own; nothing is there that nobody needs."""
    stage, system = story.stage, story.stage.system
    claims = {name: system.get_claim(name) for name in story.kept}
    instances = {uid_of(each): each for each in system.instances(POOL)}
    holders = [each["spec"]["claimRef"]["uid"] for each in instances.values() if "claimRef" in each["spec"]]
    assert sorted(holders) == sorted(uid_of(claim) for claim in claims.values()), holders
    for claim in claims.values():
        instance = system.api.get("agentinstances", claim["status"]["instance"])
        assert instance["spec"]["claimRef"]["uid"] == uid_of(claim)
        if instance["status"]["phase"] == "Crashed":
            continue
        conversation = system.ask(instance, "GET", "/convos/status").json()["conversation"]
        assert conversation["id"] == claim["status"]["conversationId"], (conversation, claim["status"])
    for instance in system.idle(POOL):
        assert system.ask(instance, "GET", "/pool/health").json()["clean"] is True

    def one_each() -> bool:
        families = system.families()
        alive = {uid for uid, each in instances.items() if each["status"]["phase"] != "Crashed"}
        return families.keys() == alive and all(len(pids) == 1 for pids in families.values())

    stage.until(one_each, lambda: (system.families(), instances.keys()), "one process each")
    stage.until(
        lambda: stage.system.homes() == instances.keys(),
        lambda: (stage.system.homes(), instances.keys()),
        "one home each",
    )


def check_rest(stage: Stage) -> None:
    """Nothing is written any more, although every watch is open and an operator works."""

    def rests() -> bool:
        everything = {"agentpools", "agentinstances", "agentclaims"}
        watched = any(proxy.watched >= everything for proxy in stage.proxies)
        return watched and stage.leads() and time.monotonic() - stage.last_news() > QUIET_SECONDS

    stage.until(rests, stage.told, "rest is reached")


def check_nothing_is_left(stage: Stage) -> None:
    """Once everything was given back: no process, no home, no Secret without an owner.

    A genuine API server alone collects no garbage: there a Secret may remain that an instance of the story owned.
    """
    stage.until(lambda: not stage.system.families(), stage.told, "no process is left")
    stage.until(lambda: not stage.system.homes(), stage.system.homes, "no home is left")

    def secrets() -> set[str]:
        gone = stage.witness.of("agentinstances").keys() if stage.system.kind == "genuine" else set()
        return {
            name_of(each)
            for each in stage.api.all("secrets")
            if not any(owner["uid"] in gone for owner in each["metadata"].get("ownerReferences", []))
        }

    stage.until(lambda: not secrets(), secrets, "no Secret is left")


def check_history(stage: Stage) -> None:
    """No instance ever had two claims, nor a claim two conversations, whatever was given back since."""
    for uid, events in stage.witness.of("agentinstances").items():
        claims = {obj["spec"]["claimRef"]["uid"] for _, obj in events if "claimRef" in obj["spec"]}
        assert len(claims) <= 1, f"instance {uid} had the claims {claims}"
        assert stage.witness.log_of(uid).count("created a conversation") <= 1, stage.witness.log_of(uid)
    told: dict[str, set[str]] = {}
    for uid, events in stage.witness.of("agentclaims").items():
        statuses = [obj.get("status", {}) for _, obj in events]
        conversations = {status["conversationId"] for status in statuses if "conversationId" in status}
        told[uid] = conversations
        assert len(conversations) <= 1, f"claim {uid} was told of the conversations {conversations}"
        assert all(status.get("message") for status in statuses if status.get("phase") in {"Failed", "Evicted"})
        unheld = [obj for what, obj in events if what != "DELETED" and _phase(obj) and not _is_held(obj)]
        assert not unheld, f"claim {uid} was told something before it was held for the ledger: {unheld}"


def check_ledger(stage: Stage, fault: Fault) -> None:
    """Every transition of every object is there once, and in order."""
    wanted = expected(stage.witness)

    held = _held(stage)

    def difference() -> dict[str, object]:
        found = recorded(stage.database_url)
        return {
            uid: {"happened": wanted.get(uid), "recorded": found.get(uid)}
            for uid in wanted.keys() | found.keys()
            if not _agrees(stage, wanted.get(uid, []), found.get(uid, []), unseen=fault.leaderless and uid not in held)
        }

    stage.until(lambda: not difference(), lambda: (difference(), stage.told()), "the ledger is complete")


def check_output(stage: Stage, fault: Fault) -> None:
    """No operator told of a mistake of its own."""
    for operator in stage.operators:
        lines = operator.output.splitlines()
        mistakes = [mistake for mistake in MISTAKES if mistake not in fault.excused]
        found = [line for line in lines if any(mistake in line for mistake in mistakes)]
        assert not found, f"{found}\n{operator.output[-8000:]}"


def _held(stage: Stage) -> set[str]:
    """The uids of all that could not go without an operator: a claim can before it was told anything."""
    histories = {**stage.witness.of("agentclaims"), **stage.witness.of("agentinstances")}
    return {uid for uid, events in histories.items() if any(_is_held(obj) for _, obj in events)}


def _is_held(obj: Object) -> bool:
    return bool(obj["metadata"].get("finalizers"))


def _phase(obj: Object) -> str | None:
    phase: str | None = obj.get("status", {}).get("phase")
    return phase


def _agrees(stage: Stage, wanted: list[Key], found: list[Key], *, unseen: bool) -> bool:
    missing, extra = set(wanted) - set(found), set(found) - set(wanted)
    # Where the API server has forgotten states, the operator may know of more than the witness.
    complete = (not missing or unseen) and (not extra or stage.witness.gaps > 0)
    # Operators have a queue each, so records of two may overtake each other.
    ordered = len(stage.operators) > 1 or [key for key in wanted if key in found] == [
        key for key in found if key in wanted
    ]
    return complete and ordered and len(found) == len(set(found))
