"""The order in which files of tests begin."""

from pathlib import Path

import pytest

from tests.tooling.order import LONG, rank

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", LONG)
def test_every_file_that_is_said_to_take_long_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


def test_the_longest_files_begin_first_and_all_others_keep_their_order() -> None:
    tests = ["tests/core/test_pool.py::test_b[x::y]", f"{LONG[1]}::test_c", "tests/agent/test_log.py::test_a", LONG[0]]
    assert sorted(tests, key=rank) == [LONG[0], f"{LONG[1]}::test_c", tests[0], tests[2]]
