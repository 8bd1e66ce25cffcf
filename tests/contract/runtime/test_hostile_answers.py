"""Whatever an instance answers, the controller learns one of few things, and a sentence."""

import asyncio
import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest

from controller.errors import AgentpoolError, Conflict, Refused, Transient
from controller.ports import Endpoint, Provisioned
from controller.runtime import HttpRuntime
from tests.contract.runtime.conftest import PATIENCE, open_link, order
from tests.doubles.runtime import (
    PAGE,
    TOKEN,
    Script,
    ScriptedRuntime,
    acts_and_hangs,
    acts_and_hangs_up,
    answers,
    answers_bytes,
    cuts_its_answer_short,
    drips,
    hangs,
    hangs_up,
    never_stops,
    raw_server,
    redirects,
)

SHORT = 0.3
"""A deadline that is meant to pass."""
POOL_OK: Mapping[str, Any] = {"ok": True, "inviteUrl": "https://i/1", "conversationId": "c", "joined": False}
CONVOS_OK: Mapping[str, Any] = {"conversationId": "c", "inviteUrl": "https://i/1", "inviteSlug": "s"}
HTML = "text/html; charset=utf-8"

BROKEN: dict[str, tuple[Script, str]] = {
    "says nothing": (hangs, "did not answer within 0.3 s"),
    "drips for ever": (drips, "did not answer within 0.3 s"),
    "acts, then says nothing": (acts_and_hangs, "did not answer within 0.3 s"),
    "hangs up": (hangs_up, "closed the connection without an answer"),
    "acts, then hangs up": (acts_and_hangs_up, "closed the connection without an answer"),
    "cuts its answer short": (cuts_its_answer_short, "cut short"),
    "never stops": (never_stops, "larger than 1 MiB"),
    "is one byte too large": (answers_bytes(b" " * (1 << 20) + b"{"), "larger than 1 MiB"),
    "redirects": (redirects("/elsewhere"), "redirect (302)"),
    "redirects for good": (redirects("https://169.254.169.254/", 308), "redirect (308)"),
    "500": (answers({"error": "disk full"}, status=500), "500: disk full"),
    "502 with a page": (answers_bytes(PAGE, HTML, status=502), "502"),
    "503": (answers({"error": "not ready"}, status=503), "503: not ready"),
    "504 with nothing": (answers_bytes(b"", "", status=504), "504"),
    "429": (answers({"error": "slow down"}, status=429), "429: slow down"),
    "599": (answers_bytes(b"{", status=599), "599"),
    "404 of Railway's edge": (
        answers({"status": "error", "code": 404, "message": "Application not found", "request_id": "x"}, status=404),
        "nothing running there",
    ),
}
WORTHLESS: dict[str, tuple[Script, str]] = {
    "half a JSON": (answers_bytes(b'{"ok": true, "conve'), "shape"),
    "nothing": (answers_bytes(b""), "shape"),
    "a list": (answers([1, 2]), "shape"),
    "null": (answers(None), "shape"),
    "nested too deep": (answers_bytes(b"[" * 100_000), "shape"),
    "not UTF-8": (answers_bytes(b'{"ok": true, "conversationId": "\xff"}'), "shape"),
    "half a character": (answers_bytes(rb'{"ok": true, "joined": false, "conversationId": "\ud800"}'), "shape"),
    "JSON by another name": (answers_bytes(b'{"ok": true}', "text/plain"), "text/plain instead of JSON"),
    "no type": (answers_bytes(b'{"ok": true}', ""), "no content type instead of JSON"),
    # Nobody asked for it, and what a few bytes unpack to may be enormous.
    "compressed": (answers_bytes(gzip.compress(json.dumps(POOL_OK).encode()), encoding="gzip"), "shape"),
}
LIES: dict[str, Script] = {
    "ok is false": answers({**POOL_OK, "ok": False}),
    "ok is text": answers({**POOL_OK, "ok": "true"}),
    "joined is missing": answers({"ok": True, "conversationId": "c"}),
    "joined is a number": answers({**POOL_OK, "joined": 1}),
    "neither conversation nor invite": answers({**POOL_OK, "conversationId": None, "inviteUrl": None}),
    "an empty conversation": answers({**POOL_OK, "conversationId": "", "inviteUrl": ""}),
    "a conversation that is a number": answers({**POOL_OK, "conversationId": 7}),
    "a conversation of two lines": answers({**POOL_OK, "conversationId": "c\nPhase: Bound"}),
    "a conversation without end": answers({**POOL_OK, "conversationId": "c" * 5000}),
    "an invite that is a script": answers({**POOL_OK, "inviteUrl": "javascript:alert(1)"}),
    "an invite with a gap": answers({**POOL_OK, "inviteUrl": "https://i/1 onclick=x"}),
}
FINAL: dict[str, tuple[Script, type[AgentpoolError], str, str]] = {
    "409": (answers({"error": "taken by another"}, status=409), Conflict, "", "taken by another"),
    "409 with a page": (answers_bytes(PAGE, HTML, status=409), Conflict, "", "taken"),
    "400": (
        answers({"error": "instructions is empty"}, status=400),
        Refused,
        "ProvisionRefused",
        "(400): instructions",
    ),
    "413": (answers({"error": "too large"}, status=413), Refused, "ProvisionRefused", "(413): too large"),
    "422 without a word": (answers({}, status=422), Refused, "ProvisionRefused", "(422)"),
    "401": (answers({"error": "wrong token"}, status=401), Refused, "Unauthorized", "wrong token"),
    "403 with a page": (answers_bytes(PAGE, HTML, status=403), Refused, "Unauthorized", "(403)"),
    "404": (answers({"error": "no"}, status=404), Refused, "NotAnAgentRuntime", "404"),
    "405": (answers_bytes(b"", "", status=405), Refused, "NotAnAgentRuntime", "405"),
    "200 with a page": (answers_bytes(PAGE, HTML), Refused, "NotAnAgentRuntime", "text/html instead of JSON"),
}


def named(table: Mapping[str, Any]) -> list[Any]:
    return [pytest.param(*(row if isinstance(row, tuple) else (row,)), id=name) for name, row in table.items()]


def deadline(script: Script) -> float:
    """Short where it is meant to pass, else generous: a busy machine must not turn one answer into another."""
    return SHORT if script in {hangs, drips, acts_and_hangs} else PATIENCE


@pytest.mark.parametrize("protocol", ["pool", "convos"])
@pytest.mark.parametrize(("script", "says"), named(BROKEN | WORTHLESS))
async def test_a_broken_answer_to_an_order_passes_by_itself(
    runtime: HttpRuntime, protocol: Any, script: Script, says: str
) -> None:
    async with ScriptedRuntime(protocol, script=script) as instance:
        with pytest.raises(Transient) as error:
            await runtime.provision(instance.endpoint, order(), timeout=deadline(script))
    assert says in str(error.value)


@pytest.mark.parametrize("script", named(LIES))
async def test_a_success_that_is_none_is_not_believed(
    runtime: HttpRuntime, scripted: ScriptedRuntime, script: Script
) -> None:
    scripted.script = script
    with pytest.raises(Transient, match=r"shape|names neither"):
        await runtime.provision(scripted.endpoint, order(), timeout=PATIENCE)


@pytest.mark.parametrize("protocol", ["pool", "convos"])
@pytest.mark.parametrize(("script", "error", "reason", "says"), named(FINAL))
async def test_a_refusal_of_an_order_is_told_apart(
    runtime: HttpRuntime, protocol: Any, script: Script, error: type[AgentpoolError], reason: str, says: str
) -> None:
    async with ScriptedRuntime(protocol, script=script) as instance:
        with pytest.raises(error) as refusal:
            await runtime.provision(instance.endpoint, order(), timeout=PATIENCE)
    assert getattr(refusal.value, "reason", "") == reason
    assert says in str(refusal.value)


@pytest.mark.parametrize("protocol", ["pool", "convos"])
@pytest.mark.parametrize(
    "script",
    named({name: row[0] for name, row in (BROKEN | WORTHLESS | FINAL).items() if not name.startswith("acts")} | LIES),
)
async def test_no_such_answer_to_a_probe_is_ready(runtime: HttpRuntime, protocol: Any, script: Script) -> None:
    async with ScriptedRuntime(protocol, script=script) as instance:
        readiness = await runtime.probe(instance.endpoint, timeout=deadline(script))
    assert not readiness.ready
    assert readiness.detail
    assert readiness.detail.isprintable()


@pytest.mark.parametrize(
    ("script", "says"),
    named(
        {
            "a page": (answers_bytes(PAGE, HTML), "answered text/html instead of JSON: this is not an agent runtime"),
            "a page that says ready": (answers_bytes(b'{"ready": true}', HTML), "text/html"),
            "not ready": (answers({"ready": False}), "says that it is not ready"),
            "not ready, by status": (answers({"ready": False}, status=503), "503"),
            "ready, but by an error": (answers({"ready": True}, status=500), "500"),
            "ready as text": (answers({"ready": "true"}), "another shape"),
            "ready as a number": (answers({"ready": 1}), "another shape"),
        }
    ),
)
async def test_a_pool_runtime_is_ready_only_when_it_says_so(
    runtime: HttpRuntime, scripted: ScriptedRuntime, script: Script, says: str
) -> None:
    scripted.script = script
    readiness = await runtime.probe(scripted.endpoint, timeout=PATIENCE)
    assert not readiness.ready
    assert says in readiness.detail


OLDER = {"ready": True, "conversation": None, "streaming": False}
NEWER = {"conversationId": None, "inboxId": None, "pending": False, "clean": True}


@pytest.mark.parametrize(
    ("status", "ready", "conversation"),
    named(
        {
            "older, free": (OLDER, True, None),
            "older, bound": ({**OLDER, "conversation": {"id": "c"}, "streaming": True}, True, "c"),
            "older, not ready": ({**OLDER, "ready": False}, False, None),
            "newer, free": (NEWER, True, None),
            "newer, bound": ({**NEWER, "conversationId": "c", "inboxId": "i", "clean": False}, True, "c"),
            "newer, waiting": ({**NEWER, "inboxId": "i", "pending": True, "clean": False}, True, None),
            "newer, waiting for one it knows": ({**NEWER, "conversationId": "c", "pending": True}, True, None),
            "newer, dirty": ({**NEWER, "inboxId": "i", "clean": False}, False, None),
            "both, dirty": (OLDER | NEWER | {"clean": False}, False, None),
            "both, not ready": (OLDER | NEWER | {"ready": False}, False, None),
        }
    ),
)
async def test_either_shape_of_the_convos_status_is_understood(
    runtime: HttpRuntime,
    scripted_convos: ScriptedRuntime,
    status: Mapping[str, Any],
    ready: bool,
    conversation: str | None,
) -> None:
    scripted_convos.script = answers(status)
    readiness = await runtime.probe(scripted_convos.endpoint, timeout=PATIENCE)
    assert (readiness.ready, readiness.detail == "") == (ready, ready)
    assert await runtime.conversation(scripted_convos.endpoint, timeout=PATIENCE) == conversation


@pytest.mark.parametrize(
    ("script", "error"),
    named(
        {
            "503": (answers({}, status=503), Transient),
            "409": (answers({}, status=409), Transient),
            "a redirect": (redirects("/"), Transient),
            "another shape": (answers({"ready": True}), Transient),
            "a conversation without a name": (answers({**OLDER, "conversation": {}}), Transient),
            "hangs up": (hangs_up, Transient),
            "401": (answers({}, status=401), Refused),
            "404": (answers({}, status=404), Refused),
            "a page": (answers_bytes(PAGE, HTML), Refused),
        }
    ),
)
async def test_a_conversation_that_is_not_told_is_an_error(
    runtime: HttpRuntime, scripted: ScriptedRuntime, script: Script, error: type[AgentpoolError]
) -> None:
    scripted.script = script
    with pytest.raises(error):
        await runtime.conversation(scripted.endpoint, timeout=PATIENCE)


@pytest.mark.parametrize("status", ["pending_acceptance", "waiting_for_acceptance"])
async def test_both_words_for_waiting_are_understood(
    runtime: HttpRuntime, scripted: ScriptedRuntime, scripted_convos: ScriptedRuntime, status: str
) -> None:
    scripted.script = answers({"ok": True, "inviteUrl": None, "conversationId": None, "joined": True, "status": status})
    scripted_convos.script = answers({"status": status})
    for instance in (scripted, scripted_convos):
        provisioned = await runtime.provision(instance.endpoint, order(join_url=open_link()), timeout=PATIENCE)
        assert provisioned == Provisioned(None, None, joined=False, pending=True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("999999", 3600.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("٣", None)],
    ids=["seconds", "too many", "a date", "negative", "other digits"],
)
async def test_the_wish_of_a_busy_runtime_is_passed_on(
    runtime: HttpRuntime, scripted: ScriptedRuntime, header: str, seconds: float | None
) -> None:
    scripted.script = answers({"error": "busy"}, status=503, headers={"Retry-After": header})
    with pytest.raises(Transient) as error:
        await runtime.provision(scripted.endpoint, order(), timeout=PATIENCE)
    assert error.value.retry_after == seconds


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:1", "no connection to it"),
        ("http://no-such-host.invalid:80", "does not resolve"),
        ("ftp://127.0.0.1/", "not an http or https URL"),
        ("127.0.0.1:8080", "not an http or https URL"),
        ("http://127.0.0.1:99999", "not an http or https URL"),
        ("http://", "not an http or https URL"),
        ("", "not an http or https URL"),
        ("http://user:word@127.0.0.1:1", "without credentials"),
        ("http://127.0.0.1:1/?next=", "without credentials and query"),
    ],
    ids=[
        "nobody listens",
        "no such host",
        "another scheme",
        "no scheme",
        "no such port",
        "no host",
        "nothing",
        "credentials",
        "a query",
    ],
)
async def test_an_address_that_leads_nowhere_is_not_ready(runtime: HttpRuntime, url: str, says: str) -> None:
    endpoint = Endpoint(url, "pool", TOKEN)
    readiness = await runtime.probe(endpoint, timeout=PATIENCE)
    assert not readiness.ready
    assert says in readiness.detail
    with pytest.raises(Transient, match=says):
        await runtime.provision(endpoint, order(), timeout=PATIENCE)


async def test_a_tls_server_that_nobody_vouches_for_gets_no_token(runtime: HttpRuntime) -> None:
    received = bytearray()

    def answer(request: bytes) -> bytes:
        received.extend(request)
        return b"\x15\x03\x01\x00\x02\x02\x28"

    async with raw_server(answer) as url:
        readiness = await runtime.probe(Endpoint(url.replace("http:", "https:"), "pool", TOKEN), timeout=PATIENCE)
    assert not readiness.ready
    assert TOKEN.encode() not in received


async def test_an_instance_that_never_reads_the_order_cannot_hold_the_caller(runtime: HttpRuntime) -> None:
    release = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
        await release.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        endpoint = Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "pool", TOKEN)
        large = order(instructions="x" * (16 << 20))
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Transient, match="did not answer within"):
                await runtime.provision(endpoint, large, timeout=SHORT)
        release.set()
