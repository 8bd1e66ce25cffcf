"""What Railway tells of deployments, over real HTTP."""

import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from pydantic import ValidationError

from controller.http.probes import Probes
from controller.http.webhooks import MOST_BYTES, RailwayWebhooks
from controller.settings import Settings

SECRET = "an-open-sesame-of-32-characters_"
IDS = {"project": {"id": "p", "name": "x"}, "environment": {"id": "e"}, "service": {"id": "s"}}


def event(kind: str = "Deployment.crashed", resource: Any = IDS) -> bytes:
    return orjson.dumps({"type": kind, "details": {"id": "d", "status": "CRASHED"}, "resource": resource})


class Listener:
    """The operator's HTTP server, and the hints that it passed on."""

    def __init__(self, *, secret: str | None = SECRET) -> None:
        self.hints: list[tuple[str | None, ...]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        webhooks = RailwayWebhooks(secret, lambda *ids: self.hints.append(ids)) if secret is not None else None
        self.probes = Probes("127.0.0.1", self.port, why_not_ready=lambda: None, webhooks=webhooks)

    async def ask(self, path: str, body: bytes = b"", method: str = "POST") -> tuple[int, str]:
        """Status and text of the answer."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://127.0.0.1:{self.port}{path}", data=body) as answer,
        ):
            return answer.status, await answer.text()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    await listener.probes.start()
    yield listener
    await listener.probes.stop()


@pytest.mark.parametrize(
    ("resource", "ids"),
    [
        (IDS, ("p", "e", "s")),
        ({"project": {"id": "p"}, "environment": {"id": "e"}}, ("p", "e", None)),
        ({"project": "p", "environment": {"id": 7}, "service": {"name": "s"}}, (None, None, None)),
        ({"project": {"id": "p" * 65}, "environment": {"id": ""}}, (None, None, None)),
        (None, (None, None, None)),
        ([1, 2], (None, None, None)),
    ],
    ids=["all", "no service", "other shapes", "no ids", "nothing", "a list"],
)
async def test_an_event_of_a_deployment_is_a_hint_with_the_ids_that_it_names(
    listener: Listener, resource: Any, ids: tuple[str | None, ...]
) -> None:
    assert await listener.ask(f"/webhooks/railway/{SECRET}", event(resource=resource)) == (204, "")
    assert listener.hints == [ids]


@pytest.mark.parametrize(
    "body",
    [event("Alert.triggered"), event("deployment.crashed"), b"{}", b"[]", b'"Deployment.crashed"', b'{"type": 5}'],
    ids=["another event", "another case", "no type", "a list", "a text", "a number for a type"],
)
async def test_what_is_no_event_of_a_deployment_is_taken_and_ignored(listener: Listener, body: bytes) -> None:
    assert await listener.ask(f"/webhooks/railway/{SECRET}", body) == (204, "")
    assert listener.hints == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 3000])
async def test_a_body_that_is_no_json_is_refused(listener: Listener, body: bytes) -> None:
    status, _ = await listener.ask(f"/webhooks/railway/{SECRET}", body)
    assert (status, listener.hints) == (400, [])


@pytest.mark.parametrize("size", [MOST_BYTES, MOST_BYTES + 1])
async def test_a_body_has_at_most_64_kib(listener: Listener, size: int) -> None:
    body = event()
    body += b" " * (size - len(body))
    status, _ = await listener.ask(f"/webhooks/railway/{SECRET}", body)
    assert (status, len(listener.hints)) == ((204, 1) if size == MOST_BYTES else (413, 0))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/webhooks/railway/{SECRET[:-1]}x"),
        ("POST", f"/webhooks/railway/{SECRET[:-1]}"),
        ("POST", f"/webhooks/railway/{SECRET}x"),
        ("POST", "/webhooks/railway/%ff%00"),
        ("POST", "/webhooks/railway/%ED%A0%80"),
        ("GET", "/webhooks/railway/x"),
        ("GET", f"/webhooks/railway/{SECRET}"),
        ("PUT", f"/webhooks/railway/{SECRET}"),
    ],
)
async def test_who_does_not_know_the_secret_learns_nothing(listener: Listener, method: str, path: str) -> None:
    nowhere = await listener.ask("/nowhere", event(), method)
    assert await listener.ask(path, event(), method) == nowhere
    assert nowhere[0] == 404
    assert listener.hints == []


async def test_without_a_secret_there_is_no_such_page() -> None:
    listener = Listener(secret=None)
    await listener.probes.start()
    try:
        assert (await listener.ask(f"/webhooks/railway/{SECRET}", event()))[0] == 404
        assert (await listener.ask("/healthz", method="GET"))[0] == 200
    finally:
        await listener.probes.stop()


async def test_the_secret_is_never_logged(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for body in (event(), b"{", event() + b" " * MOST_BYTES):
            await listener.ask(f"/webhooks/railway/{SECRET}", body)
            await listener.ask(f"/webhooks/railway/{SECRET}", body, "GET")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("secret", ["too-short", "sixteen or so / and a slash", "ümläute-sixteen-characters"])
def test_a_secret_that_is_weak_or_fits_no_url_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(webhook_secret=secret)
    assert [problem["loc"] for problem in caught.value.errors()] == [("webhook_secret",)]
    assert secret not in str([problem["msg"] for problem in caught.value.errors()])


def test_a_good_one_is_taken_from_the_environment_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTPOOL_WEBHOOK_SECRET", SECRET)
    settings = Settings()
    assert settings.webhook_secret is not None
    assert settings.webhook_secret.get_secret_value() == SECRET
    assert SECRET not in repr(settings)
