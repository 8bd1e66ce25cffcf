"""Agents that join conversations, and gateways that speak the convos protocol themselves."""

import pytest

from tests.e2e.system import GATEWAY, System

pytestmark = pytest.mark.cluster

RUNTIMES = pytest.mark.parametrize("template", [pytest.param({}, id="pool"), pytest.param(GATEWAY, id="convos")])


@RUNTIMES
def test_an_agent_joins_the_conversation_of_an_invite_and_waits_where_its_owner_must_accept(
    system: System, name: str, template: dict[str, object]
) -> None:
    system.pool(name, minIdle=2, template=template)
    host = system.bound(system.claim(f"{name}-host", name))["status"]
    assert host["joined"] is False

    joining = system.claim(f"{name}-joins", name, joinUrl=host["inviteUrl"])
    asking = system.claim(f"{name}-asks", name, joinUrl=host["inviteUrl"] + "&wait=1")
    joined = system.bound(joining)["status"]
    assert (joined["joined"], joined["conversationId"]) == (True, host["conversationId"])

    waiting = system.phase(asking, "PendingAcceptance")
    assert system.claim_says(asking, "False/PendingAcceptance")["status"].get("conversationId") is None
    instance = system.api.get("agentinstances", waiting["status"]["instance"])
    assert system.ask(instance, "POST", "/convos/accept").status_code == 200
    accepted = system.bound(asking)["status"]
    assert (accepted["joined"], accepted["conversationId"]) == (True, host["conversationId"])
    assert accepted["instance"] == waiting["status"]["instance"]
    system.claim_says(asking, "True/Bound")


def test_an_invite_of_another_network_is_refused_with_a_reason(system: System, name: str) -> None:
    system.pool(name, minIdle=0)
    claim = system.claim(f"{name}-c", name, joinUrl="https://popup.convos.org/v2?i=abc")
    failed = system.phase(claim, "Failed")["status"]
    assert "production" in failed["message"]
    system.gone("agentinstances", failed["instance"])
