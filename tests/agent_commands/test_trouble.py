"""What the commands do about wrong usage, a wrong environment, and answers that no operator gives."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent_commands.conftest import ROOT, TOKEN, Done, Operator

NAMES = ["request-agent", "release-agent", "heartbeat"]


@pytest.mark.parametrize("command", NAMES)
def test_help_tells_every_exit_status(command: str, run: Callable[..., Done]) -> None:
    done = run(command, "--help")
    assert done.exit == 0
    assert all(f" {status} when" in " ".join(done.out.split()) for status in range(4))


def test_heartbeats_are_for_real_activity_and_the_help_says_so(run: Callable[..., Done]) -> None:
    told = " ".join(run("heartbeat", "--help").out.split())
    assert "for real activity only" in told
    assert "never from a timer" in told


@pytest.mark.parametrize(
    "words",
    [
        ["request-agent"],
        ["request-agent", "-cfo"],
        ["request-agent", ""],
        ["request-agent", "c f o"],
        ["request-agent", ".cfo"],
        ["request-agent", "c" * 65],
        ["request-agent", "cfo\n"],
        ["request-agent", b"\xff"],
        ["release-agent", "../cfo"],
        ["request-agent", "cfo", "ceo"],
        ["request-agent", "cfo", "--instructions", "a", "--instructions-file", "b"],
        ["request-agent", "cfo", "--instructions", " "],
        ["request-agent", "cfo", "--instructions", b"\xff"],
        ["request-agent", "cfo", "--instructions-file", "no/such/file"],
        ["request-agent", "cfo", "--instructions-file", "."],
        ["heartbeat", "cfo"],
        ["heartbeat", "--timeout", "0"],
        ["heartbeat", "--timeout", "soon"],
        ["heartbeat", "--timeout", "nan"],
        ["no-such-command"],
        [],
    ],
    ids=str,
)
def test_wrong_usage_is_told_in_one_line_and_nobody_is_asked(
    words: list[str | bytes], operator: Operator, run: Callable[..., Done]
) -> None:
    done = run(*words)
    assert (done.exit, done.out, done.err.count("\n")) == (2, "", 1)
    assert operator.asked == []


@pytest.mark.parametrize("name", ["a", "A9", "a.b_c-d", "c" * 64])
def test_a_name_of_letters_digits_dots_underscores_and_hyphens_will_do(
    name: str, operator: Operator, run: Callable[..., Done]
) -> None:
    operator.answers(200, {"status": "started", "agent": name})
    assert run("request-agent", name).out == f"{name} was started\n"


@pytest.mark.parametrize(
    "stdin", [b"", b"  \n", b"\xff\xfe", b"x" * 65_537], ids=["nothing", "blanks", "no text", "too much"]
)
def test_unusable_instructions_on_standard_input_are_refused(
    stdin: bytes, operator: Operator, run: Callable[..., Done]
) -> None:
    done = run("request-agent", "cfo", "--instructions-file", "-", stdin=stdin)
    assert (done.exit, done.err.count("\n")) == (2, 1)
    assert done.err.startswith("request-agent: The instructions ")
    assert operator.asked == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("POOL_URL", None, "POOL_URL not set"),
        ("INSTANCE_ID", None, "INSTANCE_ID not set"),
        ("OPENCLAW_GATEWAY_TOKEN", "", "OPENCLAW_GATEWAY_TOKEN not set"),
        ("OPENCLAW_GATEWAY_TOKEN", "to\nken", "OPENCLAW_GATEWAY_TOKEN cannot be sent"),
        ("POOL_URL", "file:///etc/passwd", "POOL_URL is not an http or https URL"),
        ("POOL_URL", "http://", "POOL_URL is not an http or https URL"),
        ("POOL_URL", "http://[::1", "POOL_URL is not an http or https URL"),
        ("POOL_URL", "http://host:port", "POOL_URL is not an http or https URL"),
        ("POOL_URL", "http://ho st", "POOL_URL is not an http or https URL"),
    ],
)
def test_an_environment_that_makes_no_sense_is_named(
    name: str, value: str | None, sentence: str, run: Callable[..., Done]
) -> None:
    done = run("heartbeat", **{name: value})
    assert (done.exit, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"heartbeat: {sentence}")


def test_an_operator_that_is_not_there_can_be_tried_again(run: Callable[..., Done]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = run("heartbeat", POOL_URL=f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert done.exit == 3
    assert done.err == (
        "heartbeat: The operator at POOL_URL cannot be reached (ConnectionRefusedError). Try again later.\n"
    )


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"], ids=len
)
def test_an_answer_that_drips_in_has_one_deadline(head: bytes, operator: Operator, run: Callable[..., Done]) -> None:
    operator.drip = True
    done = run("heartbeat", "--timeout", "0.5")
    assert (done.exit, done.err) == (
        3,
        "heartbeat: The operator at POOL_URL did not answer within 0.5 s. Try again later.\n",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Welcome</html>",
        b"",
        b"[]",
        b'"started"',
        b"\xff\xfe{",
        b"[" * 60_000,
        b'{"status":"ok"}' + b" " * 70_000,
    ],
    ids=["HTML", "nothing", "a list", "a text", "no UTF-8", "deep", "huge"],
)
def test_what_is_no_answer_of_an_operator_is_not_taken_for_one(
    body: bytes, operator: Operator, run: Callable[..., Done]
) -> None:
    operator.answers(200, body, content_type="text/html")
    done = run("heartbeat")
    assert (done.exit, done.out) == (3, "")
    assert done.err == (
        "heartbeat: The operator at POOL_URL answered 200 with something that no operator answers. Try again later.\n"
    )


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"]
)
def test_what_is_no_http_is_told_as_out_of_reach(raw: bytes, operator: Operator, run: Callable[..., Done]) -> None:
    operator.answer = raw
    done = run("heartbeat")
    assert (done.exit, done.out, done.err.count("\n")) == (3, "", 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_never_takes_the_token_elsewhere(status: int, run: Callable[..., Done], operator: Operator) -> None:
    elsewhere = Operator()
    try:
        operator.answers(status, {}, more=f"Location: {elsewhere.url}/\r\n")
        done = run("heartbeat")
        assert elsewhere.asked == []
    finally:
        elsewhere.close()
    assert (done.exit, done.err) == (
        2,
        f"heartbeat: POOL_URL answers with a redirect ({status}), which is not followed: it must be final.\n",
    )


def test_a_sentence_from_elsewhere_is_one_short_line_without_the_token(
    operator: Operator, run: Callable[..., Done]
) -> None:
    operator.answers(409, {"error": f"\x1b[2J{TOKEN}\n\rSorry{'x' * 1000}"})
    done = run("heartbeat")
    assert done.exit == 1
    assert done.err.startswith("heartbeat: The operator refused (409): [2J[token] Sorry")
    assert (done.err.count("\n"), "\x1b" in done.err) == (1, False)
    assert len(done.err) < 400


def test_the_token_is_not_printed_with_json_either(operator: Operator, run: Callable[..., Done]) -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in TOKEN)
    operator.answers(200, f'{{"status":"ok","you":["{escaped}"]}}'.encode())
    assert json.loads(run("heartbeat", "--json").out)["you"] == ["[token]"]


def test_a_status_that_is_not_known_is_no_success(operator: Operator, run: Callable[..., Done]) -> None:
    operator.answers(200, {"status": "maybe"})
    done = run("request-agent", "cfo")
    assert (done.exit, done.out) == (3, "")
    assert done.err == "request-agent: The operator at POOL_URL answered what is not known here: maybe.\n"


def test_commands_import_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; import agent.commands.__main__; "
        "print({name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'agent', '__main__'})"
    )
    # -S leaves out every installed package.
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("command", NAMES)
def test_there_is_a_program_for_each_command_in_the_image(command: str) -> None:
    program = Path(ROOT, "agent", "commands", "bin", command)
    assert program.stat().st_mode & 0o111
    assert f"-m agent.commands {command} " in program.read_text()
