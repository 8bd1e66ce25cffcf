"""What goes wrong around the operator: one line with the remedy, never a traceback, never giving up what can heal."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e import host
from tests.e2e.api import CRDS, Api
from tests.e2e.commands import Command, free_port, run_to_end
from tests.e2e.proxy import Relay
from tests.e2e.system import GATEWAY, System, create_namespace, unique
from tests.e2e.waiting import DEADLINE, eventually

SERVE = Path(__file__).parents[1] / "cluster" / "serve.py"

Operate = Callable[..., Command]


class BareServer:
    """The standalone API server without an operator."""

    def __init__(self, folder: Path, *definitions: Path) -> None:
        self.folder = folder
        command = [sys.executable, str(SERVE), str(folder), *map(str, definitions)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=SERVE.parents[2])
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("https://")
        self.kubeconfig = folder / "kubeconfig"

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.communicate(timeout=DEADLINE)


Serve = Callable[..., BareServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the API server of the test's own, with these definitions; it ends whatever becomes of the test."""
    servers: list[BareServer] = []

    def serve(*definitions: Path) -> BareServer:
        servers.append(BareServer(tmp_path / "data", *definitions))
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def api_server(server: tuple[str, Path | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of an API server that has our CRDs, and no operator that serves our namespace."""
    if server[1] is not None:
        yield server[1]
        return
    bare = BareServer(tmp_path_factory.mktemp("bare") / "data", *sorted(CRDS.glob("*.yaml")))
    yield bare.kubeconfig
    bare.stop()


@pytest.fixture
def operate(tmp_path: Path) -> Iterator[Operate]:
    """Starts operators with any arguments; their output must be free of mistakes."""
    commands: list[Command] = []

    def operate(*arguments: str, **env: str) -> Command:
        log, state = tmp_path / f"log{len(commands)}", tmp_path / "state"
        commands.append(Command("run", "--state-dir", str(state), *arguments, log=log, **env))
        return commands[-1].start()

    yield operate
    try:
        for command in commands:
            if command.running:
                assert command.stop() == 0, command.output
            command.check_output()
    finally:
        for command in commands:
            command.end()
        host.end_all(tmp_path)


@pytest.fixture
def api(api_server: Path) -> Iterator[Api]:
    """A namespace of the test's own."""
    api = Api(api_server, unique("e2e"))
    create_namespace(api)
    yield api
    api.http.close()


def says(command: Command, *fragments: str) -> str:
    """The reason why it is not ready, once it holds all fragments; its log says the same in one line."""

    def check() -> str:
        assert command.running, command.output
        status, text = command.readiness()
        return text if status == 503 and all(fragment in text for fragment in fragments) else ""

    reason = eventually(check, lambda: (command.readiness(), command.output))
    assert "\n" not in reason
    eventually(
        lambda: any("not ready, trying again in" in line and reason in line for line in command.output.splitlines())
    )
    health = command.get("/healthz")
    assert health is not None
    assert health.status_code == 200
    return reason


def changed(kubeconfig: Path, folder: Path, **user: str) -> Path:
    """A copy of a kubeconfig with another user."""
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"][0]["user"] = user
    copy = folder / "changed"
    copy.write_text(yaml.safe_dump(config))
    return copy


def namespaced(api: Api) -> tuple[str, ...]:
    return ("--namespace", api.namespace, "--operator-namespace", api.namespace)


@pytest.mark.cluster
def test_it_waits_for_an_api_server_and_outlives_its_absence(api: Api, operate: Operate, tmp_path: Path) -> None:
    relay = Relay(api.kubeconfig, tmp_path)
    command = operate("--kubeconfig", str(relay.kubeconfig), *namespaced(api))
    reason = says(command, f"https://127.0.0.1:{relay.port}", "cannot be reached", "Connection refused")
    assert "start it" in reason
    relay.open()
    command.wait_ready()
    system = System("", api, command, tmp_path / "state" / "instances", api.namespace)
    system.pool("p", template=GATEWAY, health={"intervalSeconds": 600})
    (before,) = system.warm("p")

    relay.close()
    system.claim("c", "p")
    eventually(lambda: "cannot be reached" in command.output)
    assert system.pids(before)
    relay.open()
    assert system.bound("c")["status"]["instance"] == before["metadata"]["name"]
    system.warm("p")
    system.remove("c", "p")
    eventually(lambda: system.instances("p") == [], lambda: system.describe("p"))
    assert command.stop() == 0
    relay.close()


@pytest.mark.cluster
def test_a_wrong_token_is_called_by_its_name(api: Api, operate: Operate, tmp_path: Path) -> None:
    kubeconfig = changed(api.kubeconfig, tmp_path, token="wrong")
    command = operate("--kubeconfig", str(kubeconfig), *namespaced(api))
    assert "renew the kubeconfig or token" in says(command, "does not accept the operator's credentials")
    assert "wrong" not in command.output


def test_a_token_that_is_revoked_is_called_by_its_name_and_it_still_stops_when_told_to(
    serve: Serve, operate: Operate
) -> None:
    bare = serve(*sorted(CRDS.glob("*.yaml")))
    command = operate("--kubeconfig", str(bare.kubeconfig))
    command.wait_ready()
    bare.stop()
    (bare.folder / "token").unlink()
    serve(*sorted(CRDS.glob("*.yaml")))
    says(command, "does not accept the operator's credentials")
    assert command.stop() == 0


def test_without_its_crds_it_names_the_remedy_and_becomes_ready_once_they_are_there(
    serve: Serve, operate: Operate
) -> None:
    bare = serve()
    command = operate("--kubeconfig", str(bare.kubeconfig))
    says(command, "the CRDs are not installed: run 'kubectl apply -f crds/'")
    Api(bare.kubeconfig, "default").kubectl("apply", "-f", str(CRDS))
    command.wait_ready()
    assert command.stop() == 0


def test_a_namespace_of_its_own_that_does_not_exist_is_named(serve: Serve) -> None:
    bare = serve(*sorted(CRDS.glob("*.yaml")))
    arguments = ("--kubeconfig", str(bare.kubeconfig), "--operator-namespace", "nowhere")
    status, output = run_to_end("run", *arguments, "--http-port", str(free_port()))
    assert (status, len(errors(output))) == (1, 1)
    assert "namespace nowhere" in output
    assert "create the namespace" in output


BROKEN = {
    "that does not exist": None,
    "that is no YAML": "{",
    "that names no cluster": "kind: Config\ncurrent-context: c\ncontexts: []\nclusters: []\nusers: []\n",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_kubeconfig_it_cannot_use_is_one_line_with_the_remedy(tmp_path: Path, content: str | None) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    if content is not None:
        kubeconfig.write_text(content)
    status, output = run_to_end("run", "--kubeconfig", str(kubeconfig), "--http-port", str(free_port()))
    assert (status, len(errors(output))) == (1, 1), output
    assert str(kubeconfig) in output
    assert "--kubeconfig" in output


def test_a_port_in_use_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, output = run_to_end("standalone", "--data-dir", str(tmp_path), "--http-port", port)
        assert (status, len(errors(output))) == (1, 1), output
        assert f"cannot listen on 127.0.0.1:{port}" in output
        assert "--http-port" in output
        more = ("--port", port, "--http-port", str(free_port()))
        status, output = run_to_end("standalone", "--data-dir", str(tmp_path), *more)
        assert (status, len(errors(output))) == (1, 1), output
        assert f"port {port} on 127.0.0.1 is in use by another program" in output


@pytest.mark.cluster
def test_a_data_directory_in_use_is_one_line_with_the_remedy(shared: System) -> None:
    if shared.kind != "standalone":
        pytest.skip("standalone only: there is no data directory")
    data = shared.instances_root.parent
    status, output = run_to_end("standalone", "--data-dir", str(data), "--http-port", str(free_port()))
    assert (status, len(errors(output))) == (1, 1), output
    assert f"{data} is in use by another server" in output
    assert "give another directory" in output


def test_a_data_directory_that_cannot_be_written_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data = tmp_path / "file" / "data"
    status, output = run_to_end("standalone", "--data-dir", str(data), "--http-port", str(free_port()))
    assert (status, len(errors(output))) == (1, 1), output
    assert f"cannot use the data directory {data}" in output


@pytest.mark.cluster
def test_a_state_directory_that_cannot_be_written_is_one_line_with_the_remedy(api: Api, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = tmp_path / "file" / "state"
    arguments = ("--kubeconfig", str(api.kubeconfig), *namespaced(api), "--state-dir", str(state))
    status, output = run_to_end("run", *arguments, "--http-port", str(free_port()))
    assert (status, len(errors(output))) == (1, 1), output
    assert str(state) in output


@pytest.mark.parametrize(
    ("arguments", "env", "expected"),
    [
        pytest.param(["--http-port", "many"], {}, "--http-port", id="a port that is no number"),
        pytest.param(["--http-port", "70000"], {}, "http_port", id="a port that is too large"),
        pytest.param(["--log-format", "xml"], {}, "--log-format", id="a format that does not exist"),
        pytest.param([], {"AGENTPOOL_RELIST_SECONDS": "soon"}, "relist_seconds", id="a variable that makes no sense"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(
    arguments: list[str], env: dict[str, str], expected: str
) -> None:
    status, output = run_to_end("run", *arguments, **env)
    assert status == 2
    assert expected in output


def errors(output: str) -> list[str]:
    """The lines that say why it ended."""
    return [line for line in output.splitlines() if line.startswith("agentpool: ")]
