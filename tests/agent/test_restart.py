from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.restart import GiveUp, Restart, RestartPolicy, Stop, after_exit

POLICY = RestartPolicy()
EXITS = st.lists(st.tuples(st.integers(-15, 15), st.floats(0, 100)), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("exit_code", "ran", "before", "then"),
    [
        pytest.param(0, 0.1, 0, Stop(), id="a clean exit stops"),
        pytest.param(0, 0.1, 4, Stop(), id="a clean exit stops even after crashes"),
        pytest.param(1, 0.1, 0, Restart(2.0, 1), id="a crash restarts after two seconds"),
        pytest.param(-9, 0.1, 3, Restart(2.0, 4), id="the fourth short crash still restarts"),
        pytest.param(1, 29.9, 4, GiveUp(5), id="the fifth short crash gives up"),
        pytest.param(1, 30.0, 4, Restart(2.0, 0), id="a crash after thirty seconds breaks the row"),
    ],
)
def test_what_follows_an_exit(exit_code: int, ran: float, before: int, then: Stop | Restart | GiveUp) -> None:
    assert after_exit(exit_code, ran, before, POLICY) == then


@given(EXITS)
def test_it_gives_up_exactly_after_five_short_crashes_in_a_row(exits: list[tuple[int, float]]) -> None:
    row = 0
    for index, (exit_code, ran) in enumerate(exits):
        last_five = exits[max(0, index - 4) : index + 1]
        five_short = len(last_five) == 5 and all(code != 0 and seconds < 30 for code, seconds in last_five)
        then = after_exit(exit_code, ran, row, POLICY)
        assert isinstance(then, GiveUp) == five_short
        assert isinstance(then, Stop) == (exit_code == 0)
        if not isinstance(then, Restart):
            return
        row = then.short_crashes
