from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.invite_link import abridged, check_invite_link
from agent.loopback.invites import Invite, invite_url, issue_slug, read_invite
from agent.settings import Network

CONVERSATION = "56f2293389ad742e693ddb277464c3d3"
SLUG = issue_slug(CONVERSATION, b"tag1", "dev")


@pytest.mark.parametrize(
    ("link", "network"),
    [
        pytest.param("https://popup.convos.org/v2?i=abc", "dev", id="a production link in dev"),
        pytest.param("https://dev.convos.org/v2?i=abc", "production", id="a dev link in production"),
        pytest.param("https://DEV.convos.org./v2?i=abc", "production", id="spelled otherwise"),
        pytest.param("https://user@dev.convos.org:443/v2?i=abc", "production", id="with user and port"),
    ],
)
def test_a_link_of_the_other_network_is_refused(link: str, network: Network) -> None:
    with pytest.raises(AgentError, match="belongs to the") as refused:
        check_invite_link(link, network, field="joinUrl")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("link", "network"),
    [
        ("https://dev.convos.org/v2?i=abc", "dev"),
        ("https://popup.convos.org/v2?i=abc", "production"),
        ("https://convos.example/v2?i=abc", "production"),
    ],
)
def test_a_link_of_the_own_network_or_of_an_unknown_host_passes(link: str, network: Network) -> None:
    check_invite_link(link, network, field="joinUrl")


def test_an_issued_link_leads_to_its_conversation() -> None:
    assert read_invite(invite_url(SLUG, "dev"), "dev") == Invite(SLUG, CONVERSATION, must_wait=False)
    assert read_invite(SLUG, "dev") == Invite(SLUG, CONVERSATION, must_wait=False)


def test_an_issued_link_marked_to_wait_waits() -> None:
    assert read_invite(invite_url(SLUG, "dev") + "&wait=1", "dev") == Invite(SLUG, CONVERSATION, must_wait=True)


def test_a_strangers_link_waits_and_always_means_the_same_conversation() -> None:
    first, second, other = (read_invite(f"https://dev.convos.org/v2?i={slug}", "dev") for slug in ("abc", "abc", "abd"))
    assert first.must_wait
    assert first == second
    assert first.conversation_id != other.conversation_id


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=4, max_size=4), st.integers(0, 28), st.integers(1, 255))
def test_a_slug_changed_in_one_byte_is_a_strangers(conversation: bytes, tag: bytes, position: int, flip: int) -> None:
    slug = issue_slug(conversation.hex(), tag, "dev")
    content = bytearray(base64.urlsafe_b64decode(slug + "=" * (-len(slug) % 4)))
    content[position] ^= flip
    changed = base64.urlsafe_b64encode(content).decode().rstrip("=")
    assert not read_invite(slug, "dev").must_wait
    assert read_invite(changed, "dev").must_wait


@given(st.text() | st.text().map(lambda text: f"https://dev.convos.org/v2?i={text}"))
def test_any_text_is_an_invite_or_refused_with_400(text: str) -> None:
    try:
        outcome = len(read_invite(text, "dev").conversation_id)
    except AgentError as refused:
        outcome = refused.status
    assert outcome in {32, 400}


def test_a_link_in_a_log_cannot_be_joined_with() -> None:
    link = invite_url(SLUG, "dev")
    shown = abridged(link)
    assert shown is not None
    assert shown.startswith("https://dev.convos.org/v2?i=")
    assert len(shown) < len(link) - 20
    assert abridged(None) is None
