"""agentpool logs: what a person sees of an instance, and what they are told when there is nothing to see."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands.strict import INSTANCE, instance_body, strict_server
from tests.commands.terminal import Terminal
from tests.e2e import host
from tests.e2e.system import System, name_of, uid_of, unique
from tests.e2e.waiting import eventually

LINES = b"one\ntwo\nthree \xff\xfe\x1b[31m\n"
SERVE = "from http.server import *; import os, sys"
PRINTING = [
    sys.executable,
    "-S",
    "-c",
    "import os, time\n"
    f"os.write(1, {LINES!r})\n"
    "while True:\n"
    "    time.sleep(0.05)\n"
    "    if os.path.exists('say'):\n"
    "        os.write(1, b'said\\n'); os.remove('say')\n"
    "    if os.path.exists('end'):\n"
    "        os.write(1, b'bye\\n'); break\n",
]
"""Never ready, which is nothing to the logs."""


@pytest.fixture
def pool(system: System) -> Iterator[str]:
    """A pool with one instance that has printed some lines, and says more when it is asked to."""
    name = system.pool(unique("logs"), template={"command": PRINTING}, startup={"deadlineSeconds": 3600})
    eventually(lambda: _log_of(system, name).read_bytes() == LINES, lambda: system.describe(name))
    yield name
    system.remove(name)


def _log_of(system: System, pool: str) -> Path:
    """The log of its one instance; a path where nothing is while there is none."""
    found = system.instances(pool)
    path = system.home(found[0]) / "log" if found else system.instances_root / "none"
    return path if path.exists() else Path(os.devnull)


def only(system: System, pool: str) -> tuple[str, str, Path]:
    """Name, uid and working directory of the one instance."""
    [instance] = system.instances(pool)
    return name_of(instance), uid_of(instance), system.home(instance) / "state"


def test_the_logs_come_as_they_were_written(system: System, pool: str, terminal: Terminal) -> None:
    name, _, _ = only(system, pool)
    done = terminal.run("logs", name, "-n", system.api.namespace)

    assert (done.code, done.out, done.said) == (0, LINES, "")


@pytest.mark.parametrize(("tail", "shown"), [("0", b""), ("1", LINES[8:]), ("2", LINES[4:]), ("99", LINES)])
def test_the_last_lines_only(system: System, pool: str, terminal: Terminal, tail: str, shown: bytes) -> None:
    done = terminal.run("logs", only(system, pool)[0], "--tail", tail, "-n", system.api.namespace)

    assert (done.code, done.out) == (0, shown)


def test_the_namespace_is_that_of_the_kubeconfig_s_context(
    system: System, pool: str, terminal: Terminal, tmp_path: Path
) -> None:
    config = yaml.safe_load(system.api.kubeconfig.read_text())
    context = config["contexts"][0]
    config["contexts"].append({"name": "ours", "context": {**context["context"], "namespace": system.api.namespace}})
    own = tmp_path / "config"
    own.write_text(yaml.safe_dump(config))
    name, _, _ = only(system, pool)

    assert terminal.run("logs", name, "--kubeconfig", str(own), "--context", "ours").out == LINES
    assert terminal.run("logs", name, "--kubeconfig", str(own)).code == 1


def test_a_claim_s_name_will_do(system: System, terminal: Terminal) -> None:
    pool = system.pool(unique("logs"))
    system.warm(pool)
    claim = system.claim(unique("claim"), pool)
    system.bound(claim)
    done = terminal.run("logs", "--claim", claim, "-n", system.api.namespace)
    wrong = terminal.run("logs", claim, "-n", system.api.namespace)
    system.remove(pool, claim)

    assert done.code == 0
    assert b"serving" in done.out
    assert wrong.code == 1
    assert "there is no AgentInstance" in wrong.said


def test_a_claim_that_waits_has_no_logs_and_says_what_it_waits_for(system: System, terminal: Terminal) -> None:
    claim = system.claim(unique("claim"), "no-such-pool")
    system.claim_says(claim, "False/PoolNotFound")
    done = terminal.run("logs", "--claim", claim, "-n", system.api.namespace)
    system.remove(claim)

    assert done.code == 1
    assert done.said.startswith(f"agentpool: claim {claim} has no instance: it is Pending (")


def test_following_shows_what_comes_and_ends_with_the_instance(system: System, pool: str, terminal: Terminal) -> None:
    name, _, state = only(system, pool)
    following = terminal.start("logs", "-f", "--tail", "1", name, "-n", system.api.namespace)
    assert following.stdout is not None
    first = following.stdout.readline()
    (state / "say").touch()
    second = following.stdout.readline()
    (state / "end").touch()
    done = terminal.end_of(following)

    assert (first, second, done.out) == (LINES[8:], b"said\n", b"bye\n")
    assert (done.code, done.said) == (0, "")


def test_ctrl_c_ends_following_without_a_word(system: System, pool: str, terminal: Terminal) -> None:
    following = terminal.start("logs", "-f", only(system, pool)[0], "-n", system.api.namespace)
    assert following.stdout is not None
    following.stdout.readline()
    following.send_signal(signal.SIGINT)
    done = terminal.end_of(following)

    assert (done.code, done.said) == (-signal.SIGINT, "")


def test_ctrl_c_ends_it_while_its_reader_reads_no_more(system: System, terminal: Terminal) -> None:
    command = [sys.executable, "-S", "-c", "import os, time; os.write(1, b'x' * (1 << 20)); time.sleep(3600)"]
    pool = system.pool(unique("logs"), template={"command": command}, startup={"deadlineSeconds": 3600})
    eventually(lambda: _log_of(system, pool).stat().st_size == 1 << 20)
    showing = terminal.start("logs", only(system, pool)[0], "-n", system.api.namespace)
    assert showing.stdout is not None
    showing.stdout.read(1)
    showing.send_signal(signal.SIGINT)
    code = showing.wait(60)
    system.remove(pool)

    assert code == -signal.SIGINT


def test_a_closed_pipe_ends_following_even_while_nothing_comes(system: System, pool: str, terminal: Terminal) -> None:
    following = terminal.start("logs", "-f", only(system, pool)[0], "-n", system.api.namespace)
    assert following.stdout is not None
    following.stdout.readline()
    following.stdout.close()
    following.wait(60)
    assert following.stderr is not None

    assert (following.returncode, following.stderr.read()) == (128 + signal.SIGPIPE, b"")


def test_output_that_cannot_be_written_is_told(system: System, pool: str, terminal: Terminal) -> None:
    with Path("/dev/full").open("wb") as full:
        showing = terminal.start("logs", only(system, pool)[0], "-n", system.api.namespace, stdout=full)
        done = terminal.end_of(showing)

    assert (done.code, done.said) == (
        1,
        "agentpool: standard output cannot be written: No space left on device\n",
    )


def test_the_operator_s_files_stay_as_they_are(system: System, pool: str, terminal: Terminal) -> None:
    """Nothing is written, and what has died meanwhile is left for the operator to notice."""
    name, uid, _ = only(system, pool)

    def files() -> dict[Path, tuple[int, int]]:
        own = (system.instances_root / uid).rglob("*")
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in own}

    def versions() -> dict[str, Any]:
        # What earlier tests left goes away meanwhile, and after ten seconds the operator says why it is not ready.
        instance = system.api.get("agentinstances", name)
        kept = {key: instance["metadata"].get(key) for key in ("generation", "labels", "annotations", "finalizers")}
        others = system.api.resource_versions().items()
        return kept | {key: each for key, each in others if pool in key and not key.startswith("agentinstances")}

    before = files(), versions()
    assert terminal.run("logs", name, "-n", system.api.namespace).code == 0

    assert before[0]
    assert before[1]
    assert (files(), versions()) == before


def test_an_instance_that_does_not_exist_is_told_with_where_to_look(system: System, terminal: Terminal) -> None:
    done = terminal.run("logs", "nobody", "-n", system.api.namespace)

    assert (done.code, done.out) == (1, b"")
    assert done.said == (
        f"agentpool: there is no AgentInstance nobody in namespace {system.api.namespace}: see 'kubectl get "
        f"agentinstances --namespace {system.api.namespace}', or name another with --namespace\n"
    )


@pytest.mark.parametrize("name", ["../agentpools/x", "a/b", "Ada", "x?watch=1", "-", ""])
def test_what_cannot_be_a_name_never_reaches_the_api_server(system: System, terminal: Terminal, name: str) -> None:
    done = terminal.run("logs", "-n", system.api.namespace, "--", name)

    assert done.code == 1
    assert "cannot be the name of an AgentInstance" in done.said


def test_another_state_directory_is_told_with_the_option_that_names_it(
    system: System, pool: str, terminal: Terminal, tmp_path: Path
) -> None:
    name, uid, _ = only(system, pool)
    done = terminal.run("logs", name, "-n", system.api.namespace, "--state-dir", str(tmp_path / "none"))

    assert done.code == 1
    assert f"instance {uid} has no files below {tmp_path}/none/instances" in done.said
    assert done.said.endswith("run this on the operator's host, and name its directory with --state-dir\n")
    assert not (tmp_path / "none").exists()


def test_another_operator_namespace_founds_no_installation(system: System, pool: str, terminal: Terminal) -> None:
    name, namespace = only(system, pool)[0], system.api.namespace
    done = terminal.run("logs", name, "-n", namespace, "--operator-namespace", namespace)

    assert done.code == 1
    assert "name the namespace of the operator with --operator-namespace" in done.said
    assert system.api.find("configmaps", "agentpool-installation") is None


def test_an_api_server_that_does_not_answer_is_one_sentence(system: System, terminal: Terminal, tmp_path: Path) -> None:
    config = yaml.safe_load(system.api.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    done = terminal.run("logs", "x", "--kubeconfig", str(tmp_path / "config"))

    assert done.code == 1
    assert "cannot be reached (Connection refused)" in done.said
    assert done.said.count("\n") == 1


def test_no_kubeconfig_is_one_sentence(terminal: Terminal) -> None:
    done = terminal.run("logs", "x", KUBECONFIG="/no/such/file")

    assert done.code == 1
    assert done.said.count("\n") == 1


def test_rights_that_are_lacking_are_named(terminal: Terminal, tmp_path: Path) -> None:
    with strict_server(tmp_path, {}) as config:
        instance = terminal.run("logs", "x", "--kubeconfig", config)
    with strict_server(tmp_path, {INSTANCE: instance_body({"process": {}})}) as config:
        founded = terminal.run("logs", "x", "--kubeconfig", config, "--operator-namespace", "ops")

    assert instance.said == (
        'agentpool: you lack the right to get agentinstances in namespace team: User "eve" cannot get that\n'
    )
    assert founded.said.startswith(
        "agentpool: you lack the right to get ConfigMap agentpool-installation in namespace ops"
    )
    assert (instance.code, founded.code) == (1, 1)


def test_a_backend_that_is_not_known_is_told(terminal: Terminal, tmp_path: Path) -> None:
    with strict_server(tmp_path, {INSTANCE: instance_body({"mars": {}})}) as config:
        done = terminal.run("logs", "x", "--kubeconfig", config)

    assert done.code == 1
    assert "runs on a backend that this agentpool does not know: use the version that its operator has" in done.said


def test_an_instance_that_has_ended_is_told(system: System, pool: str, terminal: Terminal) -> None:
    """Its finalizer is gone with its remote, so it is held by another one, as backup programs do."""
    name, _, state = only(system, pool)
    system.api.patch("agentinstances", name, {"metadata": {"finalizers": ["agentpool.dev/remote", "example.org/held"]}})
    system.api.delete("agentinstances", name)
    eventually(lambda: not state.parent.exists())
    done = terminal.run("logs", name, "-n", system.api.namespace)
    system.api.patch("agentinstances", name, {"metadata": {"finalizers": None}})

    assert done.code == 1
    assert done.said == f"agentpool: instance {name} has ended, and its logs went with it (Terminating)\n"


def test_the_logs_of_a_crashed_agent_are_there_until_its_claim_is_given_back(
    system: System, terminal: Terminal
) -> None:
    pool = system.pool(unique("logs"))
    system.warm(pool)
    claim = system.claim(unique("claim"), pool)
    system.bound(claim)
    host.signal_all(system.pids(system.instance_of(claim)), signal.SIGKILL)
    eventually(lambda: system.instances(pool, "Crashed"), lambda: system.describe(pool))
    done = terminal.run("logs", "-f", "--claim", claim, "-n", system.api.namespace)
    system.remove(pool, claim)

    assert done.code == 0
    assert b"serving" in done.out
