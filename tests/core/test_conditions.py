"""Conditions: their transition time moves only when their status does."""

import pytest

from controller.core.conditions import assert_condition
from tests.core.builders import NOW, at


@pytest.mark.parametrize(
    ("holds", "status"), [(True, "True"), (False, "False"), (None, "Unknown")], ids=["yes", "no", "unknown"]
)
def test_a_new_condition_dates_from_now(holds: bool | None, status: str) -> None:
    condition = assert_condition((), "Ready", holds, "Because", "a sentence", NOW, 4)
    assert (condition.status, condition.last_transition_time, condition.observed_generation) == (status, NOW, 4)


def test_a_new_reason_and_message_leave_the_transition_time_where_it_was() -> None:
    first = assert_condition((), "Ready", False, "Starting", "wait", NOW)
    second = assert_condition((first,), "Ready", False, "Crashed", "it died", at(10))
    assert (second.reason, second.message, second.last_transition_time) == ("Crashed", "it died", NOW)


def test_a_status_that_flips_moves_the_transition_time() -> None:
    first = assert_condition((), "Ready", False, "Starting", "", NOW)
    assert assert_condition((first,), "Ready", True, "Ready", "", at(10)).last_transition_time == at(10)


def test_conditions_of_other_types_do_not_matter() -> None:
    other = assert_condition((), "Degraded", True, "", "", NOW)
    assert assert_condition((other,), "Ready", True, "", "", at(10)).last_transition_time == at(10)
