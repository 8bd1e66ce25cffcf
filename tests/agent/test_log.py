from __future__ import annotations

import logging

import pytest

from agent.log import LineFormatter


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("agentpool.agent", logging.INFO, __file__, 1, message, None, None)
    made.fields = fields
    return made


def test_a_line_says_when_who_what_and_with_what() -> None:
    line = LineFormatter("agent").format(record("the gateway listens", pid=12, host="127.0.0.1", nothing=None))
    assert line.endswith("Z info    agent: the gateway listens pid=12 host=127.0.0.1")


def test_a_value_cannot_forge_a_line_or_a_field() -> None:
    line = LineFormatter("agent").format(record("two\nlines", reason='x\ny" level=error'))
    assert line.endswith(r'agent: two lines reason="x\ny\" level=error"')
    assert "\n" not in line


def test_a_traceback_is_one_line_that_names_its_place() -> None:
    made = record("a request failed")
    with pytest.raises(ValueError, match="wrong") as raised:
        int_of_many_lines()
    made.exc_info = (ValueError, raised.value, raised.value.__traceback__)
    line = LineFormatter("agent").format(made)
    assert "ValueError: wrong" in line
    assert "test_log.py" in line
    assert "\n" not in line


def int_of_many_lines() -> None:
    raise ValueError("wrong\nagain")
