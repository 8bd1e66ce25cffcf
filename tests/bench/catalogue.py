"""All scenarios, and which of them can run here."""

from collections.abc import Callable, Mapping, Sequence

from controller.errors import Misconfigured
from tests.bench.docker_scenarios import DOCKER_SCENARIOS, DockerScenario
from tests.bench.railway_scenario import RAILWAY_SCENARIOS, RailwayScenario
from tests.bench.scenarios import VIRTUAL_SCENARIOS, ClaimScenario, RestartScenario

Scenario = ClaimScenario | RestartScenario | RailwayScenario | DockerScenario

SCENARIOS: Mapping[str, Scenario] = {**VIRTUAL_SCENARIOS, **RAILWAY_SCENARIOS, **DOCKER_SCENARIOS}
"""Every scenario by name, in the order in which they run."""


def runnable(asked: Sequence[str] | None, why_no_engine: Callable[[], str | None]) -> tuple[list[str], str | None]:
    """The scenarios to run, and a sentence if some were left out.

    What was asked for by name is never left out: ``Misconfigured`` when it cannot run.
    """
    names = list(asked or SCENARIOS)
    on_engine = [name for name in names if name in DOCKER_SCENARIOS]
    lack = why_no_engine() if on_engine else None
    if lack is None:
        return names, None
    sentence = f"no Docker engine answers, and {lack}: set DOCKER_HOST to the address of one"
    if asked:
        raise Misconfigured(f"{', '.join(on_engine)} cannot run here, since {sentence}")
    others = [name for name in names if name not in DOCKER_SCENARIOS]
    return others, f"{', '.join(on_engine)} are left out, since {sentence}"
