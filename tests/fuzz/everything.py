"""All targets."""

from tests.fuzz import agent_targets, backend_targets, controller_targets, standalone_targets
from tests.fuzz.target import TARGETS, Target

MODULES = (agent_targets, backend_targets, controller_targets, standalone_targets)


def all_targets() -> list[Target]:
    """Every target, by name."""
    return [TARGETS[name] for name in sorted(TARGETS)]
