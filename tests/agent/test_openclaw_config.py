from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.openclaw.config import OWNED, Kept, Plugin, keep, render

EVERYTHING = {
    "OPENCLAW_GATEWAY_TOKEN": "secret-1",
    "OPENCLAW_PRIMARY_MODEL": "openrouter/some/model",
    "AGENTMAIL_API_KEY": "secret-2",
    "AGENTMAIL_INBOX_ID": "secret-3",
    "TELNYX_API_KEY": "secret-4",
    "TELNYX_PHONE_NUMBER": "secret-5",
    "TELNYX_MESSAGING_PROFILE_ID": "secret-6",
    "BANKR_API_KEY": "secret-7",
}
TOKEN = {"OPENCLAW_GATEWAY_TOKEN": "secret-1"}


def rendered(environment: Mapping[str, str] = TOKEN, *, port: int = 18789, plugins: tuple[Plugin, ...] = ()) -> Any:
    return render(
        environment, port=port, workspace=Path("/state/workspace"), log_file=Path("/state/log"), plugins=plugins
    )


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def test_the_gateway_is_local_and_asks_for_a_token_that_the_file_does_not_hold() -> None:
    gateway = rendered()["gateway"]
    assert (gateway["mode"], gateway["bind"], gateway["port"]) == ("local", "loopback", 18789)
    assert gateway["auth"] == {"mode": "token", "token": "${OPENCLAW_GATEWAY_TOKEN}"}
    assert (gateway["reload"], gateway["controlUi"]) == ({"mode": "off"}, {"enabled": False})
    assert rendered()["agents"]["defaults"]["workspace"] == "/state/workspace"


def test_no_value_of_the_environment_gets_into_the_file() -> None:
    text = json.dumps(rendered(EVERYTHING))
    assert "secret" not in text
    assert all(f"${{{name}}}" in text for name in EVERYTHING)


def test_a_variable_that_is_not_set_is_not_referred_to() -> None:
    text = json.dumps(rendered(TOKEN | {"AGENTMAIL_API_KEY": " "}))
    assert text.count("${") == 1
    config = rendered(TOKEN | {"AGENTMAIL_API_KEY": "set"})
    assert config["skills"] == {"entries": {"agentmail": {"env": {"AGENTMAIL_API_KEY": "${AGENTMAIL_API_KEY}"}}}}
    assert "model" not in config["agents"]["defaults"]


def test_plugins_are_loaded_and_switched_on() -> None:
    config = rendered(plugins=(Plugin(Path("/plugins/convos"), "convos"), Plugin(Path("/plugins/web"), "web")))
    assert config["plugins"]["load"] == {"paths": ["/plugins/convos", "/plugins/web"]}
    assert config["plugins"]["entries"]["web"] == {"enabled": True}
    assert "load" not in rendered()["plugins"]


def test_a_file_that_nobody_changed_follows_the_rendering(tmp_path: Path) -> None:
    path = tmp_path / "openclaw.json"
    assert keep(path, rendered()) is Kept.WRITTEN
    assert keep(path, rendered()) is Kept.UNTOUCHED
    assert keep(path, rendered(EVERYTHING)) is Kept.WRITTEN
    assert read(path) == rendered(EVERYTHING)


def test_in_a_file_that_somebody_changed_only_the_own_keys_are_set(tmp_path: Path) -> None:
    path = tmp_path / "openclaw.json"
    keep(path, rendered())
    theirs = read(path)
    theirs["gateway"] |= {"port": 1, "bind": "lan", "auth": {"mode": "none"}, "reload": {"mode": "hybrid"}, "own": 1}
    theirs["agents"] = {"defaults": {"workspace": "/elsewhere", "model": {"primary": "theirs"}}, "entries": {}}
    theirs["logging"] = "theirs"
    path.write_text(json.dumps(theirs))
    assert keep(path, rendered(EVERYTHING, port=18790)) is Kept.MERGED
    ours, merged = rendered(EVERYTHING, port=18790), read(path)
    for keys in OWNED:
        expected, found = ours, merged
        for key in keys:
            expected, found = expected[key], found[key]
        assert found == expected
    assert (merged["gateway"]["own"], merged["logging"]) == (1, "theirs")
    assert merged["agents"]["defaults"]["model"] == {"primary": "theirs"}
    assert merged["agents"]["entries"] == {}
    assert keep(path, rendered(EVERYTHING, port=18790)) is Kept.UNTOUCHED


def test_a_file_from_before_is_merged_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "openclaw.json"
    path.write_text('{"theirs": true, "gateway": "odd"}')
    assert keep(path, rendered()) is Kept.MERGED
    assert read(path)["theirs"] is True
    assert read(path)["gateway"]["port"] == 18789


@pytest.mark.parametrize("content", ['{theirs: "JSON5", /* with a comment */}', "[]", ""])
def test_a_file_that_is_no_plain_json_object_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "openclaw.json"
    path.write_text(content)
    assert keep(path, rendered()) is Kept.UNREADABLE
    assert path.read_text() == content


def test_a_kill_between_the_hash_and_the_file_is_no_change_by_others(tmp_path: Path) -> None:
    path = tmp_path / "openclaw.json"
    keep(path, rendered())
    older = path.read_bytes()
    keep(path, rendered(port=1))
    path.write_bytes(older)
    assert keep(path, rendered(port=2)) is Kept.WRITTEN


def test_the_file_and_its_hashes_are_private(tmp_path: Path) -> None:
    path = tmp_path / "openclaw.json"
    keep(path, rendered())
    assert {one.name: oct(one.stat().st_mode & 0o777) for one in tmp_path.iterdir()} == {
        "openclaw.json": "0o600",
        "openclaw.json.rendered": "0o600",
    }
