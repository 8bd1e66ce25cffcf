"""The commands themselves: `python -m agent.commands request-agent|release-agent|heartbeat`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from agent.commands.pool_api import Answer, CommandError, Exit, PoolApi, read_text

LONGEST_INSTRUCTIONS = 65_536
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
_EXIT_CODES = (
    "Exit status: 0 when it was done, 1 when it was refused or the pool is full, 2 when the command or this agent's "
    "environment makes no sense, 3 when the operator cannot be reached or cannot do it now: that can be tried again."
)


def request_agent(arguments: Sequence[str] | None = None) -> int:
    """Have another agent started."""
    parser = _parser("request-agent", "Ask the operator for another agent.")
    parser.add_argument("agent", metavar="AGENT", type=_name, help="its name; a running agent of that name is kept")
    told = parser.add_mutually_exclusive_group()
    told.add_argument("--instructions", metavar="TEXT", help="what it is to be and do")
    told.add_argument("--instructions-file", metavar="FILE", help="a file that has them; - reads standard input")
    parser.set_defaults(timeout=60.0)
    given = parser.parse_args(arguments)

    def ask(api: PoolApi) -> Answer:
        instructions = _instructions(given.instructions, given.instructions_file)
        body = {"agent": given.agent} if instructions is None else {"agent": given.agent, "instructions": instructions}
        return api.post("/api/agents/request", body, deadline_seconds=given.timeout)

    def sentence(answer: Answer) -> str:
        where = f": {invite}" if (invite := answer.text("inviteUrl")) else ""
        match answer.body.get("status"):
            case "started":
                evicted = f" ({gone} was ended to make room)" if (gone := answer.text("evicted")) else ""
                return f"{given.agent} was started{evicted}{where}"
            case "already_running":
                return f"{given.agent} runs already{where}"
            case "pool_full":
                why = answer.text("error") or "every agent was active lately"
                raise CommandError(Exit.REFUSED, f"{given.agent} was not started, the pool is full: {why}")
        raise _unknown(answer)

    return _run("request-agent", ask, sentence, as_json=given.json)


def release_agent(arguments: Sequence[str] | None = None) -> int:
    """Have an agent ended that was requested."""
    parser = _parser("release-agent", "Give back an agent that this one requested: it is ended.")
    parser.add_argument("agent", metavar="AGENT", type=_name, help="its name")
    given = parser.parse_args(arguments)

    def ask(api: PoolApi) -> Answer:
        return api.post("/api/agents/release", {"agent": given.agent}, deadline_seconds=given.timeout)

    def sentence(answer: Answer) -> str:
        match answer.body.get("status"):
            case "released":
                return f"{given.agent} was released"
            case "not_running":
                return f"{given.agent} was not running"
        raise _unknown(answer)

    return _run("release-agent", ask, sentence, as_json=given.json)


def heartbeat(arguments: Sequence[str] | None = None) -> int:
    """Tell that this agent did something."""
    parser = _parser(
        "heartbeat",
        "Tell the operator that this agent was just active. Call it for real activity only, such as a message that was "
        "read or answered, and never from a timer: when the pool is full, the agent that was idle longest makes room, "
        "and one that always seems busy never does.",
    )
    given = parser.parse_args(arguments)

    def ask(api: PoolApi) -> Answer:
        return api.post("/api/agents/heartbeat", {}, deadline_seconds=given.timeout)

    def sentence(answer: Answer) -> str:
        if answer.body.get("status") == "ok":
            return "The operator knows that this agent is active"
        raise _unknown(answer)

    return _run("heartbeat", ask, sentence, as_json=given.json)


COMMANDS: dict[str, Callable[[Sequence[str] | None], int]] = {
    "request-agent": request_agent,
    "release-agent": release_agent,
    "heartbeat": heartbeat,
}


class _OneLineParser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = _OneLineParser(prog=program, description=description, epilog=_EXIT_CODES, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print the operator's answer as one line of JSON")
    parser.add_argument("--timeout", type=_seconds, default=15.0, metavar="SECONDS", help="how long to wait for it")
    return parser


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "a name has 1 to 64 letters, digits, dots, underscores and hyphens, and starts with a letter or digit"
        )
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 3600.0:
        raise argparse.ArgumentTypeError("give seconds, more than 0 and at most 3600")
    return value


def _instructions(text: str | None, file: str | None) -> str | None:
    if file == "-":
        text = read_text(sys.stdin.buffer, LONGEST_INSTRUCTIONS)
    elif file is not None:
        try:
            with Path(file).open("rb") as source:
                text = read_text(source, LONGEST_INSTRUCTIONS)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CommandError(Exit.USAGE, f"The instructions cannot be read: {reason} ({file!r}).") from None
    if text is None:
        return None
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise CommandError(Exit.USAGE, "The instructions are not UTF-8 text.") from None
    if not text.strip() or size > LONGEST_INSTRUCTIONS:
        raise CommandError(
            Exit.USAGE, f"The instructions must have 1 to {LONGEST_INSTRUCTIONS} bytes, not just blanks."
        )
    return text


def _unknown(answer: Answer) -> CommandError:
    told = answer.text("status") or "no status"
    return CommandError(Exit.UNREACHABLE, f"The operator at POOL_URL answered what is not known here: {told}.")


def _run(program: str, ask: Callable[[PoolApi], Answer], sentence: Callable[[Answer], str], *, as_json: bool) -> int:
    try:
        answer = ask(PoolApi.from_environment(os.environ))
        if as_json:
            sys.stdout.write(json.dumps(answer.body) + "\n")
        line = sentence(answer)
        if not as_json:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except CommandError as error:
        sys.stderr.write(f"{program}: {error.sentence}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return Exit.DONE


def main() -> None:
    """Run the command that the first argument names."""
    match sys.argv[1:]:
        case [name, *rest] if name in COMMANDS:
            sys.exit(COMMANDS[name](rest))
    sys.stderr.write(f"usage: python -m agent.commands {'|'.join(COMMANDS)} ...; each knows --help\n")
    sys.exit(Exit.USAGE)


if __name__ == "__main__":
    main()
