"""What an instance says never carries a secret, a line break or an escape sequence into a condition or a log."""

import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from controller.core.sentence import LONGEST_SENTENCE, quoted
from controller.errors import AgentpoolError, Refused, Transient
from controller.ports import Endpoint, ProvisionOrder
from controller.runtime import HttpRuntime
from tests.contract.runtime.conftest import PATIENCE, order
from tests.doubles.runtime import (
    TOKEN,
    Script,
    ScriptedRuntime,
    answers,
    cuts_its_answer_short,
    hangs,
    hangs_up,
    raw_server,
    redirects,
)

INSTRUCTIONS = "You are the concierge. The password of the safe is swordfish-4711.\nNever tell it."
LINK = "https://dev.convos.org/v2?i=c2VjcmV0LWludml0ZS1zbHVn"
NEXT = "n3xt-t0ken-0f-this-instance"
SECRETS = (TOKEN, NEXT, "swordfish-4711", "c2VjcmV0LWludml0ZS1zbHVn")


def secret_order() -> ProvisionOrder:
    return replace(order(instructions=INSTRUCTIONS, join_url=LINK), next_token=NEXT)


async def echoes(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    """Repeats everything that it was sent."""
    sent = f"cannot do {dict(request.headers)} {await request.text()}"
    return web.json_response({"error": sent}, status=400)


async def echoes_the_token(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": f"{request.headers['Authorization']} is wrong"}, status=401)


async def echoes_the_instructions(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": f"not allowed: {(await request.json())['instructions'][20:]}"}, status=500)


async def echoes_the_link(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": f"no such invite: {(await request.json()).get('joinUrl')}"}, status=409)


async def echoes_as_a_type(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"{}", headers={"Content-Type": request.headers["Authorization"].replace(" ", "/")})


def everything_about(error: BaseException | None) -> Iterator[str]:
    """All texts that a log of the error could show, its causes and contexts included."""
    while error is not None:
        yield str(error)
        yield repr(error)
        yield repr(error.__dict__)
        yield "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "script",
    [
        echoes,
        echoes_the_token,
        echoes_the_instructions,
        echoes_the_link,
        echoes_as_a_type,
        hangs,
        hangs_up,
        cuts_its_answer_short,
        redirects("/"),
        answers({"odd": 1}),
    ],
    ids=lambda script: script.__name__,
)
@pytest.mark.parametrize("protocol", ["pool", "convos"])
async def test_no_error_and_no_log_line_tells_a_secret(
    runtime: HttpRuntime, protocol: Any, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    deadline = 0.3 if script is hangs else PATIENCE
    async with ScriptedRuntime(protocol, script=script) as instance:
        with pytest.raises(AgentpoolError) as error:
            await runtime.provision(instance.endpoint, secret_order(), timeout=deadline)
        readiness = await runtime.probe(instance.endpoint, timeout=deadline)
    told = [*everything_about(error.value), repr(readiness), caplog.text]
    for secret in SECRETS:
        assert not any(secret in text for text in told)


async def test_an_answer_that_is_not_http_takes_no_token_along(runtime: HttpRuntime) -> None:
    async with raw_server(lambda request: b"SSH-2.0-OpenSSH_9.6\r\n" + request) as url:
        with pytest.raises(Transient, match="is not HTTP") as error:
            await runtime.provision(Endpoint(url, "pool", TOKEN), secret_order(), timeout=PATIENCE)
    assert not any(secret in text for text in everything_about(error.value) for secret in SECRETS)


@pytest.mark.parametrize("token", ["line\r\nX-Evil: 1", "zero\0", "umläut"], ids=["line break", "zero byte", "umlaut"])
async def test_a_token_that_no_header_can_carry_is_never_sent(
    runtime: HttpRuntime, scripted: ScriptedRuntime, token: str
) -> None:
    endpoint = Endpoint(scripted.url, "pool", token)
    readiness = await runtime.probe(endpoint, timeout=PATIENCE)
    assert "characters that no header can carry" in readiness.detail
    with pytest.raises(Transient, match="characters that no header can carry") as error:
        await runtime.provision(endpoint, order(), timeout=PATIENCE)
    assert not any(token in text for text in everything_about(error.value))
    assert scripted.seen == []


async def test_instructions_that_are_no_text_are_refused_before_anything_is_sent(
    runtime: HttpRuntime, scripted: ScriptedRuntime
) -> None:
    with pytest.raises(Refused, match="write them as UTF-8"):
        await runtime.provision(scripted.endpoint, order(instructions="half a \ud83d"), timeout=PATIENCE)
    assert scripted.seen == []


async def test_the_runtimes_own_sentence_is_one_short_printable_line(
    runtime: HttpRuntime, scripted: ScriptedRuntime
) -> None:
    scripted.script = answers({"error": "no\x1b[31m such\r\nmodel\u202e " + "x" * 5000}, status=400)
    with pytest.raises(Refused) as error:
        await runtime.provision(scripted.endpoint, order(), timeout=PATIENCE)
    text = str(error.value)
    assert text.startswith("the runtime refuses the order (400): no [31m such model xxx")
    assert text.isprintable()
    assert len(text) < LONGEST_SENTENCE + 50


def test_the_host_of_a_join_link_may_be_named() -> None:
    sentence = "joinUrl belongs to the production network (popup.convos.org)"
    assert quoted(sentence, ["v2?i=c2VjcmV0"]) == sentence


def test_a_secret_of_a_few_letters_does_not_silence_every_sentence() -> None:
    assert quoted("the instructions are too short", ["short"]) == "the instructions are too short"
