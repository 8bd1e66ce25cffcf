"""A child that goes on as a fork of the supervisor where it would become a new program: it need not import all anew.

Half of what the start of an instance with the loopback service costs is a second interpreter that loads what the first
one has loaded already.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

Main = Callable[[Sequence[str]], None]
"""A program: takes its arguments, and leaves by SystemExit if it has a status to tell."""


def go_on_as(main: Main, arguments: Sequence[str], environment: Mapping[str, str], keep: int) -> NoReturn:
    """Run a program in this child and end with it; besides the standard streams one descriptor stays open.

    To be called between fork and exec (``preexec_fn``), in a process without other threads: standard streams,
    directory and session are the child's own by then.
    """
    status = 1
    try:
        _close_all_but({0, 1, 2, keep})
        os.environ.clear()
        os.environ.update(environment)
        _forget_signals()
        # What the parent has loaded stays shared, unwalked; its collector was stopped for the fork.
        gc.freeze()
        gc.enable()
        main(arguments)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        # Nothing of the parent's may be done a second time here: no handler at exit, no block that is left.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _close_all_but(kept: Set[int]) -> None:
    # The descriptor on which the parent waits for the exec is among them: it waits no longer.
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor not in kept:
            with suppress(OSError):  # the one by which they were listed
                os.close(descriptor)


def _forget_signals() -> None:
    """As in a new interpreter."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
