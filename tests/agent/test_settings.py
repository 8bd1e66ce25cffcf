from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent import __version__
from agent.errors import SettingsError
from agent.settings import Settings

TOKEN = {"OPENCLAW_GATEWAY_TOKEN": "secret-token"}


def test_a_token_alone_is_enough() -> None:
    settings = Settings.from_environment(TOKEN)
    assert (settings.host, settings.port, settings.network, settings.gateway_port) == ("127.0.0.1", 8080, "dev", 0)
    assert settings.state_dir == Path("state").absolute()
    assert settings.pool_url is None


def test_the_token_is_not_shown() -> None:
    assert "secret-token" not in repr(Settings.from_environment(TOKEN))


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        pytest.param({}, "127.0.0.1", id="nothing said"),
        pytest.param({"AGENT_BIND": "0.0.0.0"}, "0.0.0.0", id="everywhere"),
        pytest.param({"AGENT_BIND": "::"}, "::", id="IPv6"),
        pytest.param({"HOST": "127.0.0.2"}, "127.0.0.2", id="HOST"),
        pytest.param({"HOST": "localhost"}, "127.0.0.1", id="by name"),
        pytest.param({"HOST": "127.0.0.2", "AGENT_BIND": "0.0.0.0"}, "0.0.0.0", id="AGENT_BIND leads"),
    ],
)
def test_where_it_listens(environment: dict[str, str], host: str) -> None:
    assert Settings.from_environment(TOKEN | environment).host == host


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        pytest.param({"OPENCLAW_GATEWAY_TOKEN": " "}, "OPENCLAW_GATEWAY_TOKEN", id="no token"),
        pytest.param({"AGENT_GATEWAY": "hermes"}, "AGENT_GATEWAY", id="another gateway"),
        pytest.param({"XMTP_ENV": "staging"}, "XMTP_ENV", id="another network"),
        pytest.param({"PORT": "http"}, "PORT", id="a port that is a word"),
        pytest.param({"PORT": "65536"}, "PORT", id="a port too high"),
        pytest.param({"GATEWAY_PORT": "-1"}, "GATEWAY_PORT", id="a port too low"),
        pytest.param({"AGENT_BIND": "everywhere"}, "AGENT_BIND", id="no address"),
        pytest.param({"HOST": "my-laptop"}, "HOST", id="a host name"),
        pytest.param({"POOL_URL": "pool.example"}, "POOL_URL", id="a URL without a scheme"),
        pytest.param({"POOL_URL": "http://pool.example:port"}, "POOL_URL", id="a URL with a wrong port"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_in_one_line(environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(TOKEN | environment)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret-token" not in str(refused.value)


@pytest.mark.parametrize("program", ["agent", "agent.loopback"])
def test_a_program_with_wrong_settings_ends_with_one_line(program: str) -> None:
    ended = subprocess.run([sys.executable, "-m", program], env={"XMTP_ENV": "mars"}, capture_output=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count(b"\n") == 1
    assert ended.stdout == b""


def test_a_state_directory_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = TOKEN | {"OPENCLAW_STATE_DIR": str(tmp_path / "file" / "state")}
    ended = subprocess.run([sys.executable, "-m", "agent"], env=environment, capture_output=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"agent: OPENCLAW_STATE_DIR cannot be made")
    assert ended.stderr.count(b"\n") == 1


def test_the_version_is_that_of_the_project() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'\nversion = "{__version__}"\n' in project


def test_the_processes_of_an_idle_instance_load_no_pydantic() -> None:
    # It would cost nine megabytes in each of two processes, for every instance kept warm.
    code = "import agent.server, agent.supervisor, agent.loopback.__main__, sys; print('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"
