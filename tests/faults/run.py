"""One run: the story on a stage of its own, while a fault strikes, and then every check."""

import logging
import random
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults import checks
from tests.faults.fault import Fault
from tests.faults.servers import ApiServer
from tests.faults.stage import Plan, Stage, dice_of
from tests.faults.story import Story

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class World:
    """What all runs share."""

    server: ApiServer
    postgres_url: str
    folder: Path


def run(world: World, fault: Fault, seed: int) -> None:
    """Fails with all that is known if anything does not hold."""
    dice = dice_of(fault.name, seed)
    plan = Plan(world.folder / f"{fault.name.replace(' ', '-')}-{seed}")
    plan.folder.mkdir(parents=True)
    fault.prepare(plan)
    with Stage(world.server, world.postgres_url, plan) as stage:
        try:
            _tell(stage, fault, Story(stage, dice_of(fault.name, seed, "story")), dice)
        except BaseException as error:
            error.add_note(f"{fault.name}, seed {seed}: {fault.sentence}")
            raise


def _tell(stage: Stage, fault: Fault, story: Story, dice: random.Random) -> None:
    begin = time.monotonic()
    healing = _Healing(stage, fault)
    at = dice.randrange(1, len(story.steps)) if fault.at is None else fault.at
    for number, step in enumerate(story.steps):
        if number == at:
            fault.strike(stage, dice)
            stage.later(fault.lasts, healing.heal)
        step()
        stage.pause(dice.uniform(0, 0.3))
    story.settle()
    stage.until(lambda: healing.done, stage.told, f"{fault.name} has struck and is over")
    assert fault.struck(stage), f"{fault.name} never struck: the run shows nothing\n{stage.told()}"
    checks.check_while_it_lives(story)
    checks.check_rest(stage)
    story.end()
    checks.check_nothing_is_left(stage)
    checks.check_rest(stage)
    stage.witness.finish()
    checks.check_history(stage)
    checks.check_ledger(stage, fault)
    checks.check_output(stage, fault)
    log.info("%s: %.1f s", fault.name, time.monotonic() - begin)


class _Healing:
    """Ends a fault once its time is over, and it need not linger."""

    def __init__(self, stage: Stage, fault: Fault) -> None:
        self._stage, self._fault = stage, fault
        self.done = False

    def heal(self) -> None:
        if self._fault.lingers(self._stage):
            self._stage.later(0.2, self.heal)
            return
        self._fault.heal(self._stage)
        self.done = True
