"""One run: the story on a stage of its own, while a fault strikes, and then every check."""

import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults import checks
from tests.faults.fault import Fault
from tests.faults.servers import ApiServer
from tests.faults.stage import Plan, Stage, dice_of
from tests.faults.story import Story

VISITORS, VISIT_SECONDS = 5, 5.0
"""How many come after the story, and how far apart, so that something happens for a fault that waits for that."""


@dataclass(frozen=True)
class World:
    """What all runs share."""

    server: ApiServer
    postgres_url: str
    folder: Path


def run(world: World, fault: Fault, seed: int) -> None:
    """Fails with all that is known if anything does not hold."""
    dice = dice_of(fault.name, seed)
    plan = Plan(world.folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', fault.name)}-{seed}")
    plan.folder.mkdir(parents=True)
    fault.prepare(plan)
    with Stage(world.server, world.postgres_url, plan) as stage:
        healing = _Healing(stage, fault)
        try:
            _tell(healing, Story(stage, dice_of(fault.name, seed, "story")), dice)
        except BaseException as error:
            error.add_note(f"{fault.name}, seed {seed}: {fault.sentence}")
            healing.give_up()
            raise


def _tell(healing: "_Healing", story: Story, dice: random.Random) -> None:
    stage, fault = healing.stage, healing.fault
    at = dice.randrange(1, len(story.steps)) if fault.at is None else fault.at
    for number, step in enumerate(story.steps):
        if number == at:
            healing.strike(dice)
        step()
        stage.pause(dice.uniform(0, 0.3))
    story.settle()
    _outlast(healing, story)
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


def _outlast(healing: "_Healing", story: Story) -> None:
    """Until the fault is over. What lingers waits for something to happen, and the story may be told by then."""
    stage = healing.stage
    for number in range(VISITORS):
        if healing.is_done_within(VISIT_SECONDS):
            return
        story.visit(f"visitor{number}")
        story.settle()
    stage.until(lambda: healing.done, stage.told, f"{healing.fault.name} has struck and is over")


class _Healing:
    """Ends a fault once its time is over, and it need not linger."""

    def __init__(self, stage: Stage, fault: Fault) -> None:
        self.stage, self.fault = stage, fault
        self.done = False
        self._begun = False

    def strike(self, dice: random.Random) -> None:
        self._begun = True
        self.fault.strike(self.stage, dice)
        self.stage.later(self.fault.lasts, self._heal)

    def is_done_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        self.stage.until(lambda: self.done or time.monotonic() > end)
        return self.done

    def give_up(self) -> None:
        """After a failure: the next run shall find everything well."""
        if self._begun and not self.done:
            self.fault.heal(self.stage)

    def _heal(self) -> None:
        if self.fault.lingers(self.stage):
            self.stage.later(0.2, self._heal)
            return
        self.fault.heal(self.stage)
        self.done = True
