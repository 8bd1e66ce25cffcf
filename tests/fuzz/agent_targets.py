"""What reaches the agent's program: orders, links, its gateway's answers, its environment, its own files."""

import contextlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.commands.__main__ import heartbeat, release_agent, request_agent
from agent.commands.pool_api import CommandError, read_answer, read_text
from agent.convos import parse_status, says_ready
from agent.errors import AgentError, SettingsError
from agent.exchange import Exchange
from agent.healthcheck import judge
from agent.invite_link import abridged, check_invite_link
from agent.loopback.faults import Faults
from agent.loopback.invites import read_invite
from agent.loopback.state import StateFiles
from agent.openclaw.config import keep
from agent.openclaw.gateway import plugin_in
from agent.openclaw.workspace import lay_out
from agent.provision_record import ProvisionStore, UnreadableRecordError
from agent.provision_request import ProvisionRequest
from agent.proxy import forwarded_headers
from agent.self_destruct import require_local
from agent.server import idempotency_key
from agent.settings import Settings
from agent.token import InstanceToken, next_token
from tests.fuzz.http import loop, received
from tests.fuzz.target import environment, lines, target, text

LINK = "https://dev.convos.org/v2?i=AQIDBA"


@target(
    "agent-provision-request",
    {"agentName": "Ada", "instructions": "Help.", "joinUrl": LINK, "profileImage": "x", "metadata": {"a": [1]}},
    {"name": "Ada", "instructions": " "},
    words='"agentName" "instructions" "joinUrl" "name" "metadata" "profileImage" : , { } https://',
)
def provision_request(data: bytes) -> None:
    with contextlib.suppress(AgentError):
        ProvisionRequest.parse(data, "dev")


@target(
    "agent-invite-link", LINK, "https://popup.convos.org./v2?i=a", "https://[::1]:99999/", words="https:// [ ] : @ i="
)
def invite_link(data: bytes) -> None:
    abridged(text(data))
    with contextlib.suppress(AgentError):
        check_invite_link(text(data), "dev", field="joinUrl")


@target("agent-loopback-invite", LINK + "&wait=1", "AQIDBA", words="https:// i= & wait=1 % + =")
def loopback_invite(data: bytes) -> None:
    with contextlib.suppress(AgentError):
        read_invite(text(data), "dev")


@target(
    "agent-gateway-answer",
    {"ready": True, "conversation": {"id": "c", "inviteUrl": LINK}, "streaming": True},
    {"ready": True, "conversationId": "c", "pending": False, "clean": True},
    words='"ready" "conversation" "conversationId" "pending" "clean" "id" "inviteUrl" : , { }',
)
def gateway_answer(data: bytes) -> None:
    parse_status(200, "application/json", data)
    says_ready(200, "application/json", data)
    judge("8080", 200, data)


@target(
    "agent-request-head",
    "127.0.0.1\nPOST /pool/provision HTTP/1.1\nAuthorization: Bearer secret\nIdempotency-Key: k\nConnection: close, x\n"
    "X-Forwarded-For: 10.0.0.1",
    "::ffff:127.0.0.1\nGET / HTTP/1.1\nHost: x\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: a",
    words="Authorization: Bearer Basic Connection: Forwarded: Via: Origin: Idempotency-Key: X-Forwarded-Proto: ::1",
)
def request_head(data: bytes) -> None:
    [peer], head = lines(data, 1)

    async def look() -> None:
        request = received(head, b"", remote=peer)
        if request is None:
            return
        forwarded_headers(request)
        with contextlib.suppress(AgentError):
            InstanceToken("secret", None).require(request)
        with contextlib.suppress(AgentError):
            next_token(request)
        with contextlib.suppress(AgentError):
            require_local(request)
        with contextlib.suppress(AgentError):
            idempotency_key(request)
            next_token(request)

    loop().run_until_complete(look())


@target(
    "agent-first-message",
    {"method": "connect", "params": {"auth": {"token": "secret", "other": 1}, "more": "x"}},
    words='"method" "connect" "params" "auth" "token" "secret" : , { }',
)
def first_message(data: bytes) -> None:
    Exchange(InstanceToken("secret", None), "inner").first_message(data.decode(errors="replace"))


@target(
    "agent-settings",
    "OPENCLAW_GATEWAY_TOKEN=t\nPORT=8080\nHOST=::1\nXMTP_ENV=dev\nPOOL_URL=http://h:1/\nAGENT_GATEWAY=openclaw\n"
    "OPENCLAW_COMMAND=node 'x y'\nAGENT_PLUGINS=/a:/b\nGATEWAY_PORT=0\nINSTANCE_ID=i",
    "OPENCLAW_GATEWAY_TOKEN=t\nAGENT_VOLUME=/tmp\nOPENCLAW_STATE_DIR=/tmp/x\nLOOPBACK_BOOT_SECONDS=1\nLOOPBACK_NO_PLUGIN=1",
    words="OPENCLAW_GATEWAY_TOKEN= PORT= HOST= POOL_URL= AGENT_VOLUME= OPENCLAW_COMMAND= LOOPBACK_CRASH_AFTER= "
    "nan inf ' \\",
)
def settings(data: bytes) -> None:
    given = environment(data)
    with contextlib.suppress(SettingsError):
        Settings.from_environment(given)
    with contextlib.suppress(SettingsError):
        Faults.from_environment(given)


@target(
    "agent-provision-record",
    {"key": "k", "answer": {"invite_url": LINK, "conversation_id": "c", "status": "created"}},
    {"key": None, "answer": None, "token": "t"},
    words='"key" "answer" "token" "invite_url" "conversation_id" "status" : , { } null',
)
def provision_record(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "provision.json").write_bytes(data)
        with contextlib.suppress(UnreadableRecordError):
            record = ProvisionStore(Path(folder)).load()
            if record is not None and record.answer is not None:
                record.answer.body(token_rotated=record.token is not None)


@target(
    "agent-loopback-state",
    b'{"inbox_id":"i","conversation":{"id":"c","name":"n","profile_name":"p"},"waiting":null,"exploded":false}\n\n{"id":"m"}\n',
    words='"inbox_id" "conversation" "waiting" "exploded" "id" "name" "profile_name" : , { } null',
)
def loopback_state(data: bytes) -> None:
    state, _, messages = data.partition(b"\n\n")
    with TemporaryDirectory() as folder:
        directory = Path(folder, "loopback")
        directory.mkdir()
        (directory / "state.json").write_bytes(state)
        (directory / "messages.jsonl").write_bytes(messages)
        files = StateFiles(Path(folder))
        files.mend_messages()
        files.messages()
        with contextlib.suppress(SettingsError):
            files.load()


@target(
    "agent-openclaw-files",
    {"gateway": {"mode": "local", "port": 1}, "agents": {"defaults": {"workspace": "/x"}}},
    {"id": "convos"},
    {"AGENTS.md": "abc"},
    words='"gateway" "agents" "defaults" "auth" "id" "AGENTS.md" : , { } //',
)
def openclaw_files(data: bytes) -> None:
    ours = {
        "gateway": {"mode": "local", "port": 1, "bind": "b", "auth": {}, "trustedProxies": [], "reload": {}},
        "agents": {"defaults": {"workspace": "/w"}},
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "openclaw.json").write_bytes(data)
        (folder / "openclaw.json.rendered").write_bytes(data)
        (folder / "openclaw.plugin.json").write_bytes(data)
        (folder / "manifest").write_bytes(data)
        (folder / "package").mkdir()
        (folder / "package" / "AGENTS.md").write_bytes(b"# Agents\n")
        keep(folder / "openclaw.json", ours)
        with contextlib.suppress(SettingsError):
            plugin_in(folder)
        with contextlib.suppress(SettingsError):
            lay_out(folder / "workspace", folder / "manifest", folder / "package")


@target(
    "agent-pool-answer",
    b'200\n{"status":"claimed","instanceId":"i","inviteUrl":"https://x"}',
    b'503\n{"status":"pool_full","error":"no"}',
    words='"status" "error" "pool_full" : , { }',
)
def pool_answer(data: bytes) -> None:
    [status], body = lines(data, 1)
    code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 200
    with contextlib.suppress(CommandError):
        answer = read_answer(code, body, token="secret")
        for field in answer.body:
            answer.text(field)
    with contextlib.suppress(CommandError):
        read_text(io.BytesIO(body), 1000)


@target(
    "agent-command-line",
    "request-agent\nhelper\n--instructions\nHelp.\n--timeout\n3",
    "release-agent\n--json",
    "heartbeat\n--timeout\nnan",
    words="request-agent release-agent heartbeat --json --timeout --instructions --help -h",
)
def command_line(data: bytes) -> None:
    program, *words = text(data.replace(b"\0", b"")).split("\n")
    command = {"release-agent": release_agent, "heartbeat": heartbeat}.get(program, request_agent)
    shown = io.TextIOWrapper(io.BytesIO(), errors="backslashreplace")
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown), contextlib.suppress(SystemExit):
        command(words)
