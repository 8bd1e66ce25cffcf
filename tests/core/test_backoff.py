"""How long to wait after failures in a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.backoff import backoff


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0.25), (1, 0.25), (2, 0.5), (3, 1.0), (7, 16.0), (8, 30.0)],
    ids=["none yet", "first", "second", "third", "last that doubles", "at the limit"],
)
def test_the_wait_doubles_up_to_the_limit(failures: int, seconds: float) -> None:
    assert backoff(failures) == seconds


@given(st.integers(0, 10**9))
def test_however_many_failures_the_wait_stays_within_its_bounds_and_never_shrinks(failures: int) -> None:
    assert 0.25 <= backoff(failures) <= backoff(failures + 1) <= 30.0


def test_first_wait_and_limit_can_be_chosen() -> None:
    assert [backoff(failures, first=2, limit=5) for failures in (1, 2, 3)] == [2, 4, 5]
