"""What is kept about one instance beside its process: ``record.json`` in its directory."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from controller.backends.process.table import Identity
from controller.model.template import MEMORY_PATTERN
from controller.ports import Remote, RemoteState


class Ending(BaseModel):
    """Somebody asked for its end."""

    model_config = ConfigDict(frozen=True)
    asked_at: float
    """Seconds since the epoch."""
    grace: float
    """Seconds from asking to forcing."""


class Record(BaseModel):
    """One instance. Holds no secret: the environment is not in it."""

    model_config = ConfigDict(frozen=True)
    uid: str
    installation: str
    name: str = ""
    namespace: str = ""
    pool: str = ""
    command: tuple[str, ...] = ()
    port: int | None = None
    memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] | None = None
    created_at: float = 0.0
    boot: str
    """The run of the kernel in which the identities below were read."""
    main: Identity | None = None
    """The process that was started; ``None`` until it is known to have been."""
    kin: tuple[Identity, ...] = ()
    """Processes of it that were alive when last looked."""
    exit: str | None = None
    """Why the main process ended, once that was noticed."""
    ending: Ending | None = None

    def remote(self) -> Remote:
        """The record in the words of the port."""
        return Remote(
            uid=self.uid,
            backend_id=f"pid {self.main.pid}" if self.main is not None else "no process",
            state=RemoteState.RUNNING if self.exit is None else RemoteState.EXITED,
            url=f"http://127.0.0.1:{self.port}" if self.port is not None else None,
            message=self.exit or "",
            namespace=self.namespace,
        )

    def after_boot(self, boot: str) -> "Record":
        """As it is to be read now: after a restart of the host no identity in it names a process."""
        if boot == self.boot:
            return self
        main = self.main._replace(started=-1) if self.main is not None else None
        return self.model_copy(update={"main": main, "kin": (), "boot": boot})
