"""Imported by a Python that finds it on PYTHONPATH: its ``time.time`` is off by as much as the file says.

That is all that it shifts: not ``datetime.now``, not what C code reads, and no clock that nobody can set. The operator
reads its calendar with ``time.time`` (``controller/calendar.py``).
"""

import os
import time
from pathlib import Path

_true = time.time
_file = Path(os.environ.get("SKEWED_CLOCK", os.devnull))


def _skewed() -> float:
    try:
        return _true() + float(_file.read_text() or 0)
    except FileNotFoundError:
        return _true()


time.time = _skewed
