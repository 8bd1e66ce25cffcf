"""Which remotes nobody owns."""

from controller.core.orphans import decide
from controller.core.plan import EndOrphan
from tests.core.builders import NOW, at


def test_a_remote_without_an_owner_is_only_suspected_at_first() -> None:
    plan = decide("docker", ["a", "b"], ["a"], {}, 60, NOW)
    assert plan.ends == ()
    assert plan.suspected_since == {"b": NOW}
    assert plan.look_again_in == 60


def test_it_ends_once_it_was_without_an_owner_for_the_whole_grace_period() -> None:
    early = decide("docker", ["b"], [], {"b": NOW}, 60, at(59.5))
    assert (early.ends, early.look_again_in) == ((), 0.5)
    assert decide("docker", ["b"], [], {"b": NOW}, 60, at(60)).ends == (EndOrphan("b", "docker"),)


def test_an_owner_that_appears_ends_the_suspicion_and_a_later_one_starts_afresh() -> None:
    owned = decide("docker", ["b"], ["b"], {"b": NOW}, 60, at(59))
    assert owned.suspected_since == {}
    again = decide("docker", ["b"], [], owned.suspected_since, 60, at(61))
    assert (again.ends, again.suspected_since) == ((), {"b": at(61)})


def test_a_remote_that_is_still_there_after_it_was_ended_is_ended_again() -> None:
    first = decide("docker", ["b"], [], {"b": NOW}, 60, at(60))
    assert decide("docker", ["b"], [], first.suspected_since, 60, at(61)).ends == first.ends


def test_a_remote_that_is_gone_is_forgotten() -> None:
    assert decide("docker", [], [], {"b": NOW}, 60, at(10)).suspected_since == {}


def test_remotes_with_owners_are_never_ended_and_nothing_is_looked_at_again() -> None:
    plan = decide("docker", ["a"], ["a", "z"], {"a": at(-1000)}, 60, NOW)
    assert (plan.ends, plan.look_again_in) == ((), None)


def test_each_remote_has_a_grace_period_of_its_own() -> None:
    plan = decide("docker", ["a", "b"], [], {"a": at(-60), "b": at(-10)}, 60, NOW)
    assert plan.ends == (EndOrphan("a", "docker"),)
    assert plan.look_again_in == 50
