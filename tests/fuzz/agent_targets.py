"""What reaches the agent's program: orders, links, its gateway's answers, its environment, its own files."""

import contextlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.commands.__main__ import heartbeat, release_agent, request_agent
from agent.commands.pool_api import CommandError, PoolApi, read_answer, read_text
from agent.convos import GatewayAwayError, created_in, joined_in, parse_status, says_ready
from agent.errors import AgentError, SettingsError
from agent.exchange import Exchange
from agent.gateway_process import port_in
from agent.healthcheck import judge
from agent.instructions import BEGIN, END, carry_block, with_block, without_block
from agent.invite_link import abridged, check_invite_link
from agent.log import Log
from agent.loopback.account import Account
from agent.loopback.faults import Faults
from agent.loopback.invites import read_invite
from agent.loopback.service import Service
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
    "agent-gateway-outcome",
    b'200\n{"conversationId":"c","inviteUrl":"https://x","inviteSlug":"s"}',
    b'200\n{"status":"joined","conversationId":"c"}',
    b'200\n{"status":"waiting_for_acceptance"}',
    b'409\n{"error":"This process is already bound."}',
    words='"conversationId" "inviteUrl" "status" "joined" "pending_acceptance" "error" : , { }',
)
def gateway_outcome(data: bytes) -> None:
    [status], body = lines(data, 1)
    code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 200
    for read in (created_in, joined_in):
        with contextlib.suppress(AgentError, GatewayAwayError):
            read(code, "application/json", body)


@target("agent-gateway-port", b"8080\n", b" 1\r\n", words="65535 65536 +1 1_0 0x1")
def gateway_port(data: bytes) -> None:
    port = port_in(data)
    assert port is None or 0 < port < 65536


@target(
    "agent-loopback-request",
    b'create\n{"name":"n","profileName":"p","profileImage":"x","metadata":{"a":[1]},"env":"dev"}',
    b'join\n{"inviteUrl":"https://dev.convos.org/v2?i=AQIDBA","profileName":"p"}',
    b'send\n{"message":"m"}',
    b'rename\n{"name":"n"}',
    b'lock\n{"unlock":true}',
    words='create join send rename lock "name" "profileName" "metadata" "env" "inviteUrl" "message" "unlock" : , { }',
)
def loopback_request(data: bytes) -> None:
    [what], body = lines(data, 1)
    request = received(b"POST / HTTP/1.1", body)
    assert request is not None

    async def ask(folder: str) -> None:
        faults, log = Faults.from_environment({}), Log("test")
        account = Account(StateFiles(Path(folder)), "dev", faults, now=lambda: 0.0, randomness=bytes)
        service = Service(account, token=None, network="dev", faults=faults, log=log)
        handlers = {each.__name__: each for each in (service.join, service.send, service.rename, service.lock)}
        with contextlib.suppress(AgentError):
            if what in ("send", "rename", "lock"):
                await service.create(received(b"POST / HTTP/1.1", b"{}") or request)
            await handlers.get(what, service.create)(request)

    with TemporaryDirectory() as folder:
        loop().run_until_complete(ask(folder))


@target(
    "agent-instructions",
    b"# Agents\n" + BEGIN + b"\nold\n" + END + b"\nmore\x1e" + BEGIN + b"x" + END + b"\x1eHelp.",
    b"# Agents\n\x1e# Agents, newer\n\x1e" + BEGIN,
    words=f"{BEGIN.decode().replace(' ', '')} {BEGIN.decode()} {END.decode()} <!-- --> \x1e",
)
def instructions(data: bytes) -> None:
    old, new, wanted = (*data.split(b"\x1e", 2), b"", b"")[:3]
    with_it = with_block(old, wanted.decode(errors="replace"))
    assert with_block(with_it, wanted.decode(errors="replace")) == with_it
    carried = carry_block(with_it, new)
    for document, before in ((with_it, old), (carried, new), (carry_block(old, new), new)):
        # Half a marker on each side of a block is a whole one without it.
        if BEGIN not in before:
            assert without_block(document) == before


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
    "agent-pool-api",
    b'POOL_URL=https://h:1/\nINSTANCE_ID=i\nOPENCLAW_GATEWAY_TOKEN=t\nAGENT_TOKEN=a\n\n{"token":"brought"}',
    b"POOL_URL=http://[::1]:8080\nINSTANCE_ID=i\nOPENCLAW_GATEWAY_TOKEN=t\n\n",
    words='POOL_URL= INSTANCE_ID= OPENCLAW_GATEWAY_TOKEN= AGENT_TOKEN= http:// [ ] @ : ? # "token" { }',
)
def pool_api(data: bytes) -> None:
    head, _, record = data.partition(b"\n\n")
    with TemporaryDirectory() as folder:
        Path(folder, "provision.json").write_bytes(record)
        given = environment(head)
        given.pop("AGENT_VOLUME", None)
        with contextlib.suppress(CommandError):
            PoolApi.from_environment(given | {"OPENCLAW_STATE_DIR": folder})


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
