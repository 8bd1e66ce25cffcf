"""What the operator's own host does on a bad day: its disk is full, its clock is set."""

import errno
import functools
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

from controller.calendar import BELIEVED_AFTER_SECONDS
from tests.faults.fault import HOST, Fault
from tests.faults.servers import ApiServer
from tests.faults.stage import Plan, Stage

_DISK = "24m"
_FULL = ("DiskFull", "No space left", "cannot be written")
"""What an operator says of a full disk: its own, its queue's, or an agent's."""
_CLOCKS = Path(__file__).parent / "skewed"
_HOURS = 3 * 3600
_AT_MOST = BELIEVED_AFTER_SECONDS / 2
"""After so long it comes back whatever has happened: one that stays where it is is to be believed."""


class _FullDisk(Fault):
    """A small disk of its own, under the state directory and the ledger's queue; a ballast fills it wholly."""

    name = "the disk is full"
    sentence = "the disk of the state directory, the agents and the ledger's queue takes nothing more, for two seconds"
    peer = HOST
    lasts = 2.0
    quick = True
    excused = ("Exception ignored",)  # the last words of an agent that cannot write its log, quoted

    def lacks(self, server: ApiServer) -> str | None:
        if os.geteuid() != 0:
            return "only root can mount a disk that is small enough to be filled"
        return None if _can_mount() else "this machine lets nobody mount a disk"

    def prepare(self, plan: Plan) -> None:
        disk = plan.folder / "state"
        disk.mkdir()
        _mount(disk)
        plan.env["AGENTPOOL_LEDGER_SPOOL_DIR"] = str(disk / "ledger")
        # Many launches fail, so no more are tried for a while: a run need not wait for a minute.
        plan.pool["circuitBreaker"] = {"openSeconds": 1}

    def strike(self, stage: Stage, dice: random.Random) -> None:
        stage.at_the_end(lambda: _unmount(stage.state))
        with (stage.state / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def heal(self, stage: Stage) -> None:
        (stage.state / "ballast").unlink()

    def lingers(self, stage: Stage) -> bool:
        return not self.struck(stage)

    def struck(self, stage: Stage) -> bool:
        return any(word in operator.output for operator in stage.operators for word in _FULL)


class _JumpingClock(Fault):
    """The operator's calendar jumps, and comes back once something has expired meanwhile."""

    peer = HOST
    at = 4  # right before somebody claims an agent for a second

    def __init__(self, name: str, sentence: str, *jumps: int, quick: bool = False) -> None:
        self.name, self.sentence, self.quick = name, sentence, quick
        self._jumps = jumps
        self._since = 0.0

    def prepare(self, plan: Plan) -> None:
        plan.env |= {"PYTHONPATH": str(_CLOCKS), "SKEWED_CLOCK": str(_clock(plan))}
        # Every claim has a lifetime that such a jump would be the end of.
        plan.pool["claims"] = {"defaultLifetimeSeconds": 3600}

    def strike(self, stage: Stage, dice: random.Random) -> None:
        self._since = time.monotonic()
        _set(stage, self._jumps[0])
        for number, jump in enumerate(self._jumps[1:], 1):
            stage.later(number * self.lasts / len(self._jumps), functools.partial(_set, stage, jump))

    def heal(self, stage: Stage) -> None:
        _set(stage, 0)

    def lingers(self, stage: Stage) -> bool:
        if time.monotonic() - self._since > _AT_MOST:
            return False
        expiring = stage.api.find("agentclaims", "expires")
        return expiring is None or expiring.get("status", {}).get("phase") != "Expired"


def _clock(plan: Plan) -> Path:
    return plan.folder / "clock"


def _set(stage: Stage, seconds: int) -> None:
    clock = _clock(stage.plan)
    draft = clock.with_suffix(".new")
    draft.write_text(str(seconds))
    draft.rename(clock)


@functools.cache
def _can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        if not _mount(Path(folder)):
            return False
        _unmount(Path(folder))
        return True


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


class _SetClock(_JumpingClock):
    """It stays where it is: the operator begins anew, and sees which clock is right by the API server's."""

    leaderless = True

    def strike(self, stage: Stage, dice: random.Random) -> None:
        super().strike(stage, dice)
        stage.until(lambda: "the clock of this machine" in stage.operators[0].output, stage.told, "it follows")

    def heal(self, stage: Stage) -> None:
        """It is right now."""


class _WrongClock(_JumpingClock):
    """It is wrong all the time, and the API server's is right."""

    def prepare(self, plan: Plan) -> None:
        super().prepare(plan)
        _clock(plan).parent.mkdir(parents=True, exist_ok=True)
        _clock(plan).write_text(str(self._jumps[0]))

    def strike(self, stage: Stage, dice: random.Random) -> None:
        """It has struck."""

    def heal(self, stage: Stage) -> None:
        """It stays wrong."""

    def lingers(self, stage: Stage) -> bool:
        return False

    def struck(self, stage: Stage) -> bool:
        return "the API server's, which is gone by" in stage.operators[0].output


HOST_FAULTS: tuple[Fault, ...] = (
    _FullDisk(),
    _JumpingClock(
        "the clock jumps ahead", "the operator's clock jumps ahead by three hours, and back", _HOURS, quick=True
    ),
    _WrongClock("a clock that is wrong", "the operator's clock is three hours ahead all the time", _HOURS),
    _JumpingClock("the clock jumps back", "the operator's clock jumps back by three hours, and ahead", -_HOURS),
    _JumpingClock(
        "the clock jumps about",
        "the operator's clock jumps ahead by three hours, back by six, and then to where it was",
        _HOURS,
        -_HOURS,
    ),
    _SetClock("the clock is set", "the operator's clock is set back by three hours, for good", -_HOURS),
)
