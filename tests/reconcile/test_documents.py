"""What is sent to the API server."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.plan import Bind
from controller.model import (
    AgentInstance,
    BreakerState,
    ClaimPhase,
    ClaimStatus,
    InstancePhase,
    InstanceStatus,
    ObjectMeta,
    PoolStatus,
)
from controller.reconcile.documents import binding_patch, finalizers_patch, instance_manifest, status_patch
from tests.core.builders import NOW, at, pool, ref

FINALIZER = "agentpool.dev/remote"


def merged(target: Any, patch: Any) -> Any:
    """What a JSON merge patch (RFC 7396) makes of a document, word for word as the RFC defines it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


TEXTS = st.text(max_size=6)
TIMES = st.integers(-1000, 1000).map(lambda half: at(half / 2).isoformat())
CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["Ready", "Degraded"]), "status": st.sampled_from(["True", "False", "Unknown"])},
        optional={"reason": TEXTS, "message": TEXTS, "lastTransitionTime": TIMES, "observedGeneration": st.integers(0)},
    ),
    max_size=2,
)
COUNTS = st.integers(0, 3)
POOL_STATUSES = st.fixed_dictionaries(
    {},
    optional={
        "idle": COUNTS,
        "starting": COUNTS,
        "total": COUNTS,
        "templateHash": TEXTS,
        "circuitBreaker": st.fixed_dictionaries(
            {},
            optional={
                "state": st.sampled_from(BreakerState),
                "failures": COUNTS,
                "openedAt": TIMES,
                "lastFailure": TEXTS,
            },
        ),
        "conditions": CONDITIONS,
    },
)
INSTANCE_STATUSES = st.fixed_dictionaries(
    {}, optional={"phase": st.sampled_from(InstancePhase), "url": TEXTS, "readyAt": TIMES, "conditions": CONDITIONS}
)
CLAIM_STATUSES = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(ClaimPhase),
        "queuePosition": COUNTS,
        "joined": st.booleans(),
        "boundAt": TIMES,
        "conditions": CONDITIONS,
    },
)
PAIRS = st.one_of(
    st.tuples(st.just(PoolStatus), POOL_STATUSES, POOL_STATUSES),
    st.tuples(st.just(InstanceStatus), INSTANCE_STATUSES, INSTANCE_STATUSES),
    st.tuples(st.just(ClaimStatus), CLAIM_STATUSES, CLAIM_STATUSES),
)


@settings(deadline=None, max_examples=150)
@given(PAIRS)
def test_applying_the_patch_of_a_status_to_what_was_there_gives_what_should_be(pair: tuple[Any, Any, Any]) -> None:
    model, stored, wanted = pair
    before, after = model.model_validate(stored), model.model_validate(wanted)
    patch = status_patch("uid-1", before, after)
    if patch is None:
        assert before == after
        return
    assert patch["metadata"] == {"uid": "uid-1"}
    assert model.model_validate(merged(stored, patch["status"])) == after


@settings(deadline=None, max_examples=50)
@given(PAIRS)
def test_a_status_that_is_changed_field_by_field_is_patched_the_same_way(pair: tuple[Any, Any, Any]) -> None:
    model, stored, wanted = pair
    before = model.model_validate(stored)
    source = model.model_validate(wanted)
    after = before.model_copy(update={name: getattr(source, name) for name in source.model_fields_set})
    patch = status_patch("uid-1", before, after)
    result = stored if patch is None else merged(stored, patch["status"])
    assert model.model_validate(result) == after


def test_a_field_that_someone_else_added_survives_the_patch() -> None:
    stored = {"idle": 2, "fromANewerVersion": {"kept": True}}
    patch = status_patch("uid-1", PoolStatus.model_validate(stored), PoolStatus(idle=3))
    assert patch is not None
    assert merged(stored, patch["status"])["fromANewerVersion"] == {"kept": True}


def test_a_count_of_zero_that_was_never_said_is_said() -> None:
    patch = status_patch("uid-1", PoolStatus(), PoolStatus(idle=0, starting=1))
    assert patch == {"metadata": {"uid": "uid-1"}, "status": {"idle": 0, "starting": 1}}


def test_only_what_differs_is_sent() -> None:
    before = ClaimStatus(phase=ClaimPhase.PENDING, queue_position=3, message="waiting")
    after = before.model_copy(update={"phase": ClaimPhase.BOUND, "queue_position": None})
    assert status_patch("uid-1", before, after) == {
        "metadata": {"uid": "uid-1"},
        "status": {"phase": "Bound", "queuePosition": None},
    }


@pytest.mark.parametrize(
    "status", [PoolStatus(idle=1), InstanceStatus(ready_at=NOW), ClaimStatus(phase=ClaimPhase.BOUND)]
)
def test_nothing_is_sent_when_nothing_differs(status: Any) -> None:
    assert status_patch("uid-1", status, status.model_copy()) is None


def test_a_binding_holds_only_for_the_version_and_the_instance_that_it_was_decided_on() -> None:
    assert binding_patch(Bind(ref("one"), 42, ref("wish"), "Ada")) == {
        "metadata": {"resourceVersion": "42", "uid": "uid-one"},
        "spec": {"claimRef": {"name": "wish", "uid": "uid-wish", "agentName": "Ada"}},
    }


GUARDS = {"uid": "uid-one", "resourceVersion": "7"}


def meta(*finalizers: str) -> ObjectMeta:
    return ObjectMeta(uid="uid-one", resource_version="7", finalizers=finalizers)


def test_a_finalizer_that_is_taken_off_leaves_those_of_others() -> None:
    patch = finalizers_patch(meta("example.com/backup", FINALIZER), drop=FINALIZER)
    assert patch == {"metadata": {**GUARDS, "finalizers": ["example.com/backup"]}}


def test_the_last_finalizer_that_is_taken_off_removes_the_list() -> None:
    assert finalizers_patch(meta(FINALIZER), drop=FINALIZER) == {"metadata": {**GUARDS, "finalizers": None}}


def test_a_finalizer_that_is_put_on_stands_behind_those_of_others() -> None:
    patch = finalizers_patch(meta("example.com/backup"), add=FINALIZER)
    assert patch == {"metadata": {**GUARDS, "finalizers": ["example.com/backup", FINALIZER]}}


def test_a_new_instance_is_guarded_labelled_owned_and_built_from_the_template() -> None:
    template = {"command": ["agent", "--fast"], "env": [{"name": "A", "value": "b"}]}
    owner = pool(template=template)
    body = instance_manifest(owner, "helpers-x1", "abc")
    assert body["metadata"]["finalizers"] == [FINALIZER]
    assert body["metadata"]["labels"] == {"agentpool.dev/pool": "helpers", "agentpool.dev/template-hash": "abc"}
    made = AgentInstance.parse(body)
    (reference,) = made.metadata.owner_references
    assert (reference.kind, reference.name, reference.uid, reference.controller) == (
        "AgentPool",
        "helpers",
        "uid-helpers",
        True,
    )
    assert (made.spec.pool, made.spec.pool_uid, made.spec.template_hash) == ("helpers", "uid-helpers", "abc")
    assert (made.spec.template, made.spec.backend) == (owner.spec.template, owner.spec.backend)
    assert made.spec.claim_ref is None
