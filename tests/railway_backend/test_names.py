"""How services and volumes are named at Railway."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backends.railway.names import LENGTH, Names

UID = "0c9f6a4e-6f0e-4f5a-9c39-0d4a8a5b7e11"
ENVIRONMENT = "7b0f2f8e-57a4-4b5e-8c1a-3d2b6f7a9c10"
names = Names("installation-1", ENVIRONMENT)


def test_the_name_at_creation_is_always_the_same() -> None:
    assert names.creation_name(UID) == Names("installation-1", ENVIRONMENT).creation_name(UID)


@pytest.mark.parametrize(
    "other",
    [
        Names("installation-2", ENVIRONMENT).creation_name(UID),
        Names("installation-1", "another-environment").creation_name(UID),
        names.creation_name(str(uuid.uuid4())),
    ],
    ids=["another installation", "another environment", "another instance"],
)
def test_the_name_at_creation_is_nobody_else_s(other: str) -> None:
    assert names.creation_name(UID) != other


@given(st.text(max_size=200))
def test_a_claimed_name_fits_is_plain_and_still_tells_whose_it_is(agent_name: str) -> None:
    name = names.claimed_name(agent_name, UID)

    assert len(name) <= LENGTH
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not name.startswith("-")
    assert names.tag_of(name) == names.tag(UID)
    assert name != names.creation_name(UID)


@pytest.mark.parametrize(
    ("agent_name", "head"),
    [
        ("Tokyo trip planner", "tokyo-trip-pla-"),
        ("Ägypten / 🐪", "agypten-"),
        ("🐪", "claimed-"),
        ("", "claimed-"),
        ("agent", "claimed-"),
    ],
)
def test_a_person_recognises_the_agent(agent_name: str, head: str) -> None:
    assert names.claimed_name(agent_name, UID).startswith(head)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "postgres",
        "agent-0000-000000000000",
        "my-service-of-twelve-letters",
        Names("installation-1", "another-environment").creation_name(UID),
        names.creation_name(UID) + "-copy",
    ],
)
def test_what_cannot_be_ours_by_its_name_is_not_looked_at(name: str) -> None:
    assert names.tag_of(name) is None


@given(st.uuids())
def test_a_doomed_volume_tells_the_whole_uid(uid: uuid.UUID) -> None:
    name = names.doomed_volume(str(uid))

    assert len(name) <= LENGTH
    assert names.owner_of_doomed(name) == str(uid)
    assert Names("installation-2", ENVIRONMENT).owner_of_doomed(name) is None


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-", max_size=40))
def test_a_volume_of_anybody_is_not_taken_for_a_doomed_one(name: str) -> None:
    owner = names.owner_of_doomed(name)

    assert owner is None or names.doomed_volume(owner) == name


def test_what_is_left_of_a_uid_that_is_no_uuid_is_found_under_the_same_name() -> None:
    name = names.doomed_volume("bake-123")
    owner = names.owner_of_doomed(name)

    assert owner is not None
    assert names.doomed_volume(owner) == name


def test_a_kept_volume_ends_as_its_service_did() -> None:
    name = names.kept_volume(UID)

    assert len(name) <= LENGTH
    assert name.endswith(names.tag(UID))
    assert names.owner_of_doomed(name) is None
