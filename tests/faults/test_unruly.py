"""The proxy in front of a runtime does what it is told, once for each order, and passes everything else on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.commands import free_port
from tests.e2e.waiting import DEADLINE, eventually
from tests.faults.runtime_trouble import Trouble, Troubles

TOKEN = "token-of-this-instance"
ORDER = {"agentName": "Tokyo", "instructions": "Plan a trip."}


class Instance:
    """One unruly instance, by itself."""

    def __init__(self, folder: Path) -> None:
        self.troubles = Troubles(folder / "troubles")
        self._log = folder / "log"
        port, state = free_port(), folder / "state"
        state.mkdir()
        own = {"PORT": str(port), "OPENCLAW_STATE_DIR": str(state), "OPENCLAW_GATEWAY_TOKEN": TOKEN}
        command = [sys.executable, "-m", "tests.faults.unruly", str(self.troubles.folder)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True
            )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE, trust_env=False)
        eventually(self.is_ready, lambda: self.log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def is_ready(self) -> bool:
        try:
            return self.http.get("/pool/health").status_code == 200
        except httpx.TransportError:
            return False

    def provision(self, *, patience: float = DEADLINE) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "one"}
        return self.http.post("/pool/provision", json=ORDER, headers=headers, timeout=patience)

    def conversations(self) -> int:
        return self.log.count("created a conversation")

    def end(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(tmp_path)
    yield instance
    instance.end()


def test_it_spoils_as_many_provisions_as_it_is_told_to_and_says_in_time_what_was_done(instance: Instance) -> None:
    order = instance.troubles.order
    order(Trouble.HTML)
    order(Trouble.UNAUTHORIZED)
    order(Trouble.HANG)
    assert instance.provision().headers["Content-Type"].startswith("text/html")
    assert instance.provision().status_code == 401
    with pytest.raises(httpx.ReadTimeout):
        instance.provision(patience=0.2)
    assert instance.conversations() == 0

    order(Trouble.ERROR)
    order(Trouble.TRUNCATED)
    order(Trouble.LATE)
    assert instance.provision().status_code == 500
    with pytest.raises(httpx.RemoteProtocolError):
        instance.provision()
    with pytest.raises(httpx.ReadTimeout):
        instance.provision(patience=0.2)
    assert instance.provision().json()["status"] == "created"
    assert (instance.conversations(), instance.troubles.taken) == (1, 6)


def test_an_order_that_nobody_took_can_be_called_off_and_a_page_may_come_from_anywhere(instance: Instance) -> None:
    instance.troubles.order(Trouble.DIE_BEFORE)
    assert instance.is_ready()  # a probe is no provision
    instance.troubles.cancel()
    instance.troubles.order(Trouble.PAGE_EVERYWHERE)
    assert instance.http.get("/pool/health").headers["Content-Type"].startswith("text/html")
    assert instance.provision().json()["status"] == "created"
    assert instance.troubles.taken == 1


@pytest.mark.parametrize(("trouble", "done"), [(Trouble.DIE_BEFORE, 0), (Trouble.DIE_AFTER, 1)])
def test_it_dies_with_its_agent_before_or_after_it_has_acted(instance: Instance, trouble: Trouble, done: int) -> None:
    instance.troubles.order(trouble)
    with pytest.raises(httpx.TransportError):
        instance.provision()
    assert instance.process.wait(DEADLINE) == -signal.SIGKILL
    assert instance.conversations() == done


def test_its_agent_dies_and_the_port_says_so_until_it_is_told_to_end(instance: Instance) -> None:
    instance.troubles.order(Trouble.AGENT_DIES)
    assert instance.provision().status_code == 502
    assert instance.http.get("/pool/health").status_code == 502
    instance.process.terminate()
    assert instance.process.wait(DEADLINE) == 0
