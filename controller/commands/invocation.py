"""One run of a command: its settings, its standard output, and how it ends."""

import asyncio
import logging
import os
import select
import signal
import stat
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn

import click
from pydantic import ValidationError

from controller.errors import AgentpoolError, Refused
from controller.settings import Settings

STDOUT = 1


def settings_of(options: Mapping[str, Any]) -> Settings:
    """The settings that options and AGENTPOOL_* variables make; exits with 2 and a sentence for each mistake."""
    try:
        return Settings(**{name: value for name, value in options.items() if value not in (None, ())})
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            click.echo(f"agentpool: setting {name}: {problem['msg'].removeprefix('Value error, ')}", err=True)
        sys.exit(2)
    except UnicodeEncodeError:
        click.echo("agentpool: an option or an AGENTPOOL_ variable is not UTF-8 text: write it as such", err=True)
        sys.exit(2)


class Invocation:
    """Runs the work of a command, and exits as a shell expects: 0, 1 with a sentence, 128 and the signal's number."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._signal: signal.Signals | None = None

    def run(self, work: Callable[[], Coroutine[Any, Any, None]], *, tidies: bool) -> NoReturn:
        """Run it to its end. When it ``tidies``, SIGINT and SIGTERM cancel it once; else they end it at once."""
        # A person gets sentences; what libraries remark is for those who operate.
        logging.disable(logging.WARNING)
        if not tidies and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            # Also while it waits for a pager that does not read on.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            asyncio.run(self._run(work, tidies=tidies))
        except asyncio.CancelledError:
            sys.exit(128 + (self._signal or signal.SIGTERM))
        except BrokenPipeError:
            sys.exit(128 + signal.SIGPIPE)
        except AgentpoolError as error:
            if self._signal is None:
                click.echo(f"agentpool: {error}", err=True)
            sys.exit(128 + self._signal if self._signal is not None else 1)
        sys.exit(0)

    def end_when_unread(self) -> None:
        """End it when nobody reads its output any more, even while there is none."""
        mode = os.fstat(STDOUT).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            asyncio.get_running_loop().add_reader(STDOUT, self._cancel, signal.SIGPIPE)

    async def _run(self, work: Callable[[], Coroutine[Any, Any, None]], *, tidies: bool) -> None:
        self._task = asyncio.current_task()
        if tidies:
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self._cancel, number)
        await work()

    def _cancel(self, number: signal.Signals) -> None:
        if number is signal.SIGPIPE:
            asyncio.get_running_loop().remove_reader(STDOUT)
        # A second Ctrl-C must not break off the tidying up that the first one began.
        if self._signal is None and self._task is not None:
            self._signal = number
            self._task.cancel()


def put_out(content: bytes) -> None:
    """Write to standard output, all of it. ``BrokenPipeError`` when nobody reads it."""
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(STDOUT, view) :]
        except BlockingIOError:
            # Another program that shares the terminal may have made it so.
            select.select([], [STDOUT], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Refused("OutputNotWritable", f"standard output cannot be written: {error.strerror}") from None
