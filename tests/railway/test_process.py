"""The twin as a process of its own: its control API, and that nothing survives it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.waiting import eventually
from tests.railway import Fault, TwinProcess
from tests.railway.asking import COMMIT, CREATE, READ, STUB, variables_of


@pytest.fixture
def process(tmp_path: Path) -> Iterator[TwinProcess]:
    settings = {"limited": False, "initializing": 0, "deploying": 0.01}
    with TwinProcess(seed=3, state_dir=tmp_path / "railway", settings=settings) as twin:
        yield twin


def ask(twin: TwinProcess, query: str, **variables: Any) -> Any:
    answer = httpx.post(
        f"{twin.told['url']}?source=tests",
        json={"query": query, "variables": variables},
        headers={"Project-Access-Token": twin.told["project_tokens"]["dev"]},
        trust_env=False,
        timeout=60,
    )
    return answer.json()["data"]


def launch(twin: TwinProcess, **variables: str) -> str:
    """A service whose stub runs."""
    environment_id = twin.told["environments"]["dev"]
    where = {"projectId": twin.told["project_id"], "environmentId": environment_id}
    service_id: str = ask(twin, CREATE, input={"name": "agent", **where})["serviceCreate"]["id"]
    part = {"source": {"image": STUB}, "deploy": {"restartPolicyType": "NEVER"}, "variables": variables_of(**variables)}
    ask(twin, COMMIT, environmentId=environment_id, patch={"services": {service_id: part}})
    eventually(lambda: status(twin, service_id) == "SUCCESS")
    return service_id


def status(twin: TwinProcess, service_id: str) -> str | None:
    read = ask(twin, READ, id=twin.told["environments"]["dev"])["environment"]
    [latest] = [
        edge["node"]["latestDeployment"]
        for edge in read["serviceInstances"]["edges"]
        if edge["node"]["serviceId"] == service_id
    ]
    return None if latest is None else str(latest["status"])


def programs(root: Path) -> list[int]:
    """All living processes that the twin started."""
    found = []
    for process in psutil.process_iter():
        try:
            state_dir = process.environ().get("OPENCLAW_STATE_DIR", "")
            if process.status() != psutil.STATUS_ZOMBIE and Path(state_dir).is_relative_to(root):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_tests_see_all_and_steer_from_outside(process: TwinProcess) -> None:
    control = process.control
    service_id = launch(process, KEY="1")
    [boot] = control.boots()
    assert (boot["serviceId"], boot["variables"]["KEY"]) == (service_id, "1")
    project = control.state()["projects"][process.told["project_id"]]
    seen = project["environments"][process.told["environments"]["dev"]]["services"][service_id]
    assert (seen["name"], seen["latest"]["status"]) == ("agent", "SUCCESS")
    assert control.counts()["requests"]["ServiceCreate"] == 1
    control.force(service_id, "WAITING")
    assert status(process, service_id) == "WAITING"
    control.force(service_id, None)
    assert control.kill(service_id)
    eventually(lambda: status(process, service_id) == "CRASHED")
    assert not control.kill(service_id)
    with pytest.raises(ValueError, match="there is no service nobody"):
        control.kill("nobody")


def test_faults_settings_and_tokens_are_changed_from_outside(process: TwinProcess) -> None:
    control = process.control
    control.set_faults({Fault.ERROR_BEFORE: 1.0}, only=["mutation"])
    assert ask(process, COMMIT, environmentId=process.told["environments"]["dev"], patch={}) is None
    assert control.faults()["counts"] == {"error_before": 1}
    control.set_faults({}, clear=True)
    control.once(Fault.BAD_GATEWAY)
    assert httpx.post(f"{process.told['url']}?source=x", json={}, trust_env=False).status_code == 502
    control.change_settings(plan="Hobby", idle=1.5)
    with pytest.raises(ValueError, match="there is no setting speed"):
        control.change_settings(speed=1)
    token = control.issue("Project", process.told["environments"]["staging"])
    control.revoke(token)
    control.hold("WAITING")
    with pytest.raises(ValueError, match="'nothing' is not a valid Fault"):
        control.once("nothing")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_survives_the_twin(process: TwinProcess, tmp_path: Path, number: signal.Signals) -> None:
    launch(process, BEHAVIOUR="parent")
    root = tmp_path / "railway"
    eventually(lambda: len(programs(root)) > 1)
    [main] = [psutil.Process(pid) for pid in programs(root) if psutil.Process(pid).ppid() == process.process.pid]
    family = [main, *main.children(recursive=True)]
    process.process.send_signal(number)
    process.process.wait(60)
    eventually(lambda: not programs(root) and not any(_lives(each) for each in family))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_twin_that_is_ended_leaves_no_directory_of_its_own(tmp_path: Path) -> None:
    with TwinProcess() as twin:
        service_id = launch(twin)
        home = Path(twin.control.boots()[0]["environ"]["HOME"])
        assert home.is_dir()
        assert service_id
    assert not home.exists()
