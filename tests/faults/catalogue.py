"""Every fault there is, in the order of the table."""

from tests.faults.api_faults import api_faults
from tests.faults.fault import Fault

FAULTS: tuple[Fault, ...] = (*api_faults(),)


def named(name: str) -> Fault:
    """The fault of that name; ``LookupError`` with all names if there is none."""
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise LookupError(f"there is no fault {name!r}: choose among {', '.join(sorted(fault.name for fault in FAULTS))}")
