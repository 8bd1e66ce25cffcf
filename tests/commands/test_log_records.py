"""What of libraries' records gets into the operator's log."""

import logging
from collections.abc import Callable, Iterator

import pytest

from controller import logs


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was told since the last call, while this process logs as an operator does."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.QUIET}
    logs.configure("readable", "info")
    yield lambda: capsys.readouterr().err
    root.handlers[:], root.level = handlers, level
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_a_tls_connection_that_breaks_while_it_is_written_to_is_not_told_of_as_a_mistake(
    told: Callable[[], str],
) -> None:
    log = logging.getLogger("asyncio")
    closed = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    log.error("Fatal error on SSL protocol\nprotocol: <...>", exc_info=closed)
    assert told() == ""
    log.error("Fatal error on SSL protocol", exc_info=ValueError("of another kind"))
    log.error("Task exception was never retrieved", exc_info=RuntimeError("a mistake of ours"))
    rest = told()
    assert "of another kind" in rest
    assert "a mistake of ours" in rest
