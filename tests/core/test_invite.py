"""Which network an invite link belongs to; the agent inside an instance must come to the same end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.invite_link import check_invite_link
from controller.core.invite import network_of, wrong_network
from controller.model import Network

DEV, PRODUCTION = Network.DEV, Network.PRODUCTION
HOSTS = st.sampled_from(
    [
        "dev.convos.org",
        "popup.convos.org",
        "DEV.Convos.Org",
        "popup.convos.org.",
        "convos.org",
        "dev.convos.org.evil.tld",
    ]
)
AROUND = st.sampled_from(["", "user@", "a:b@", "dev.convos.org@", "x."])
PORTS = st.sampled_from(["", ":443", ":", ":x", ":99999"])
PATHS = st.sampled_from(["", "/", "/v2?i=abc", "?https://popup.convos.org", "#@popup.convos.org", "\\@dev.convos.org"])
LINKS = st.builds("https://{}{}{}{}".format, AROUND, HOSTS, PORTS, PATHS) | st.text().map("https://{}".format)


@pytest.mark.parametrize(
    ("link", "network"),
    [
        ("https://dev.convos.org/v2?i=abc", DEV),
        ("https://popup.convos.org/v2?i=abc", PRODUCTION),
        ("https://DEV.convos.org./v2?i=abc", DEV),
        ("https://user@dev.convos.org:443/v2?i=abc", DEV),
        ("https://convos.org/v2?i=abc", None),
        ("https://dev.convos.org.example.com/v2", None),
        ("https://example.com/v2?https://dev.convos.org", None),
        ("https://[dev.convos.org/", None),
    ],
    ids=["dev", "production", "spelled otherwise", "with user and port", "bare", "longer", "elsewhere", "no URL"],
)
def test_the_host_of_a_link_tells_its_network(link: str, network: Network | None) -> None:
    assert network_of(link) is network


def test_a_link_of_another_network_is_refused_with_both_networks_and_what_to_do() -> None:
    assert wrong_network("https://dev.convos.org/v2?i=abc", "helpers", PRODUCTION) == (
        "its joinUrl belongs to the dev network (dev.convos.org), but the agents of pool helpers live in production: "
        "create another claim on a pool of the dev network, or with an invite link of popup.convos.org"
    )


@pytest.mark.parametrize(
    ("link", "lives_in"),
    [
        (None, DEV),
        ("https://dev.convos.org/v2?i=abc", DEV),
        ("https://dev.convos.org/v2?i=abc", None),
        ("https://example.com/v2?i=abc", PRODUCTION),
    ],
    ids=["no link", "its own network", "a pool that does not say", "a host that is the gateway's to judge"],
)
def test_nothing_else_is_refused_here(link: str | None, lives_in: Network | None) -> None:
    assert wrong_network(link, "helpers", lives_in) is None


def refused_by_the_agent(link: str, network: Network) -> str:
    """Why the agent does not join by that link, if it does not."""
    try:
        check_invite_link(link, network.value, field="joinUrl")
    except AgentError as error:
        return str(error)
    return ""


@given(LINKS, st.sampled_from(Network))
def test_what_is_refused_here_the_agent_refuses_too_and_what_it_calls_another_networks_is_refused_here(
    link: str, network: Network
) -> None:
    here, there = wrong_network(link, "helpers", network), refused_by_the_agent(link, network)
    assert there or not here
    assert here or "belongs to the" not in there
