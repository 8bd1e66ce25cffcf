"""Every parser of bytes from outside, on what is known and on what hypothesis makes of it."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.everything import all_targets
from tests.fuzz.target import TRAPS, Target

TARGETS = [pytest.param(target, id=target.name) for target in all_targets()]
MODEST = settings(
    max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Bytes of chance; what is known with something put in its place; and JSON of the target's own words."""
    pieces = st.sampled_from([*target.words, *TRAPS]) | st.binary(max_size=8)
    names = st.sampled_from([word.decode().strip('"') for word in target.words] or ["a"])
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | names
    values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
    return st.one_of(
        st.binary(max_size=100),
        st.builds(_spliced, st.sampled_from(target.known()), st.integers(0), st.integers(0, 12), pieces),
        st.builds(_reworded, st.sampled_from(target.known()), st.integers(0), pieces),
        st.lists(pieces, max_size=8).map(b"".join),
        st.builds(_headed, st.sampled_from(target.known()), values),
    )


def _spliced(known: bytes, place: int, length: int, piece: bytes) -> bytes:
    start = place % (len(known) + 1)
    return known[:start] + piece + known[start + length :]


def _reworded(known: bytes, place: int, piece: bytes) -> bytes:
    """A word, a number or a quoted text of what is known, exchanged for something else."""
    spans = [found.span() for found in re.finditer(rb'"[^"]*"|[\w.]+', known)] or [(0, 0)]
    start, end = spans[place % len(spans)]
    return known[:start] + piece + known[end:]


def _headed(known: bytes, value: object) -> bytes:
    """A JSON value, after the lines that come before it in a known input."""
    head, brace, _ = known.partition(b"{")
    return (head if brace else b"") + json.dumps(value).encode()


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_ever_broke_a_parser_does_so_no_more(target: Target) -> None:
    for data in target.known():
        target.run(data)


@pytest.mark.parametrize("target", TARGETS)
def test_no_parser_of_bytes_from_outside_fails_in_a_way_that_it_does_not_document(target: Target) -> None:
    @settings(parent=MODEST)
    @given(inputs(target))
    def holds(data: bytes) -> None:
        target.run(data)

    holds()
