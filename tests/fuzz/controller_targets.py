"""What reaches the operator: the API server's answers, runtimes' answers, its environment, its own files."""

import contextlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote
from zlib import crc32

import click
import yaml
from aiohttp import web

from controller.__main__ import cli
from controller.backends.process.homes import Damaged, Homes
from controller.backends.process.table import marked
from controller.backends.pull_secrets import login_for
from controller.calendar import Calendar
from controller.commands.invocation import settings_of
from controller.commands.pool_source import pool_from_file
from controller.core.invite import network_of, wrong_network
from controller.core.transitions import derive
from controller.errors import AgentpoolError, Misconfigured, Refused
from controller.http.webhooks import RailwayWebhooks
from controller.kube.answers import date_in, error_for, lease_in, object_in, page_in, page_version, secret_in, text_in
from controller.kube.client import parse
from controller.kube.connection import connect
from controller.kube.context import own_namespace
from controller.ledger.entries import month_of, parsed
from controller.ledger.spool import Spool
from controller.ledger.troubles import checked, where
from controller.model import KINDS, AgentClaim, AgentInstance, Network
from controller.runtime.answers import conversation_in, convos_provisioned, pool_provisioned, why_unready
from controller.runtime.transport import Answer, _is_address, retry_seconds
from controller.settings import Settings
from tests.fuzz.http import loop, received
from tests.fuzz.target import environment, lines, target, text

META = {
    "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 1, "labels": {"a": "b"},
    "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["agentpool.dev/remote"],
}  # fmt: skip
POOL = {
    "apiVersion": "agentpool.dev/v1alpha1",
    "kind": "AgentPool",
    "metadata": META,
    "spec": {"minIdle": 1, "maxTotal": 2, "backend": {"process": {}}, "template": {"command": ["agent"]}},
}
CLAIM = {
    "metadata": META,
    "spec": {"pool": "p", "joinUrl": "https://dev.convos.org/v2?i=a"},
    "status": {
        "phase": "Bound",
        "boundAt": "2026-01-01T00:00:01.5Z",
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
INSTANCE = {
    "metadata": META,
    "spec": {"pool": "p", "templateHash": "h", "template": {"command": ["agent"]}},
    "status": {"phase": "Crashed", "launchedAt": "2026-01-01T00:00:01Z"},
}


@target(
    "kube-object", POOL, CLAIM, INSTANCE, words='"metadata" "spec" "status" "uid" "resourceVersion" "phase" : , { }'
)
def kube_object(data: bytes) -> None:
    with contextlib.suppress(AgentpoolError):
        raw = object_in("https://api", data)
        for kind in KINDS:
            thing = parse(kind, raw)
            if thing is not None:
                thing.metadata.version  # noqa: B018 - reading it is the test
            if isinstance(thing, AgentInstance | AgentClaim):
                derive(None, thing)
                derive(thing, None)


@target(
    "kube-answer",
    {"items": [POOL], "metadata": {"continue": "x"}},
    {"data": {"key": "dmFsdWU="}},
    {
        "metadata": META,
        "spec": {"holderIdentity": "h", "leaseDurationSeconds": 8, "renewTime": "2026-01-01T00:00:00.000000Z"},
    },
    words='"items" "metadata" "continue" "data" "spec" "leaseDurationSeconds" "leaseTransitions" : , { }',
)
def kube_answer(data: bytes) -> None:
    with contextlib.suppress(AgentpoolError):
        answer = object_in("https://api", data)
        for read in (page_in, lease_in, text_in):
            with contextlib.suppress(AgentpoolError):
                read(answer)
        page_version(answer)
        secret_in(answer)


@target(
    "kube-error",
    b'409\n\n{"kind":"Status","reason":"Conflict","message":"changed"}',
    b"429\n3\n<html>",
    words='"reason" "message" : , { }',
)
def kube_error(data: bytes) -> None:
    [status, retry_after], body = lines(data, 2)
    code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 500
    error = error_for(code, body, retry_after or None)
    seconds = getattr(error, "retry_after", None)
    assert seconds is None or 0 <= seconds <= 86400


@target(
    "kube-date",
    "Fri, 27 Nov 2026 23:00:00 GMT",
    "Fri, 27 Nov 26 23:00:00 -0100",
    words="Mon, Feb 29 Dec 9999 0001 99999999999 23:59:60 GMT -0000 +9999 EST",
)
def kube_date(data: bytes) -> None:
    there = date_in(text(data))
    calendar = Calendar(lambda: 0.0, lambda: 1.8e9)
    calendar.agree(there)
    assert there is None or abs((calendar() - there).total_seconds()) <= 30


@target(
    "kubeconfig",
    yaml.safe_dump(
        {
            "current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": "https://h:1", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
        }
    ),
    words="current-context clusters cluster server users user token contexts context name - : { } [ ] & * !!int "
    "!!timestamp "
    "certificate-authority-data client-key-data username password",
)
def kubeconfig(data: bytes) -> None:
    # What a kubeconfig names is run: no input of chance may name anything, however it spells it.
    if any(word in data for word in (b"exec", b"cmd", b"auth-provider", b"\\", b"file", b"!!python")):
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "config")
        path.write_bytes(data)
        with contextlib.suppress(Misconfigured):
            loop().run_until_complete(connect(path, None))
        for context in (None, "c"):
            loop().run_until_complete(own_namespace(path, context))


@target(
    "runtime-answer",
    b'200\napplication/json\n\n{"ok":true,"joined":false,"inviteUrl":"https://x","conversationId":"c","status":"created"}',
    b'200\napplication/json\n\n{"ready":true,"conversation":{"id":"c"},"streaming":true}',
    b'200\napplication/json\n\n{"conversationId":"c","pending":false,"clean":false}',
    b'409\napplication/json\n3\n{"error":"taken"}',
    b"200\ntext/html\n\n<html>",
    words='"ok" "joined" "inviteUrl" "conversationId" "status" "ready" "pending" "clean" "error" '
    ": , { } application/json 404",
)
def runtime_answer(data: bytes) -> None:
    [status, kind, retry_after], body = lines(data, 3)
    code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 200
    answer = Answer(code, kind, body, retry_seconds(retry_after))
    secrets = ("secret-token", "instructions that nobody may read")
    why_unready(answer, "pool", secrets)
    why_unready(answer, "convos", secrets)
    for read in (
        lambda: conversation_in(answer, secrets),
        lambda: pool_provisioned(answer, secrets),
        lambda: convos_provisioned(answer, secrets, joining=True),
        lambda: convos_provisioned(answer, secrets, joining=False),
    ):
        with contextlib.suppress(AgentpoolError):
            read()


@target(
    "runtime-address",
    "http://10.0.0.1:8080/pool",
    "https://h",
    "http://[::1]:1/",
    words="http:// https:// [ ] @ : ? # %",
)
def runtime_address(data: bytes) -> None:
    _is_address(text(data))


@target("invite-link", "https://dev.convos.org/v2?i=AQ", "https://popup.convos.org.", words="https:// [ ] : @ // .")
def invite_link(data: bytes) -> None:
    network_of(text(data))
    wrong_network(text(data), "p", Network.DEV)


@target(
    "webhook",
    b'secret\nPOST / HTTP/1.1\n\n{"type":"Deployment.success","resource":{"project":{"id":"p"},"service":{"id":"s"}}}',
    words='"type" "resource" "project" "environment" "service" "id" "Deployment." : , { }',
)
def webhook(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    [secret], head = lines(head, 1)

    async def post() -> None:
        request = received(head, body)
        if request is not None:
            with contextlib.suppress(web.HTTPException):
                await RailwayWebhooks("secret", lambda *_: None).take(request, secret)

    loop().run_until_complete(post())


@target(
    "pull-secret",
    b'registry.example/team/app:1\n{"auths":{"registry.example":{"auth":"dXNlcjpwYXNz"},"https://index.docker.io/v1/":{}}}',
    b'app\n{"auths":{"docker.io":{"identitytoken":"t"},"*.io":{"username":"u","password":"p"}}}',
    words='"auths" "auth" "username" "password" "identitytoken" : , { } docker.io * [ ]',
)
def pull_secret(data: bytes) -> None:
    [image], secret = lines(data, 1)
    with contextlib.suppress(Refused):
        login_for(image, text(secret))


@target("pool-file", yaml.safe_dump(POOL), yaml.safe_dump({"kind": "List", "items": [POOL]}),
        words="kind: AgentPool spec: metadata: items: - --- & * !!timestamp !!int !!float !!bool !!binary !!set "
        "!!omap << ")  # fmt: skip
def pool_file(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "pool.yaml")
        path.write_bytes(data)
        with contextlib.suppress(AgentpoolError):
            pool_from_file(path, None)


@target(
    "settings",
    "AGENTPOOL_HTTP_PORT=1\nAGENTPOOL_NAMESPACES=a, b\nAGENTPOOL_BACKENDS=process\nAGENTPOOL_RELIST_SECONDS=20\n"
    "AGENTPOOL_WEBHOOK_SECRET=abcdefghijklmnopq\nAGENTPOOL_DATABASE_URL=postgresql://u:p@h/d\nAGENTPOOL_LOG_LEVEL=info",
    words="AGENTPOOL_HTTP_PORT= AGENTPOOL_NAMESPACES= AGENTPOOL_LEASE_DURATION_SECONDS= AGENTPOOL_DATABASE_URL= "
    "nan inf ,",
)
def settings(data: bytes) -> None:
    fields = {name.removeprefix("AGENTPOOL_").lower(): value for name, value in environment(data).items()}
    shown = io.TextIOWrapper(io.BytesIO(), errors="backslashreplace")
    with contextlib.redirect_stderr(shown), contextlib.suppress(SystemExit):
        settings_of({name: value for name, value in fields.items() if name in Settings.model_fields})


@target(
    "command-line",
    "run\n--namespace\na\n--http-port\n1", "standalone\n--data-dir\nx", "ledger\nclaims\n--since\n2026-03-01\n-o\njson",
    "logs\nx\n--tail\n3", "image\nbake\n--help",
    words="run standalone logs image bake ledger claims usage history prune migrate --since --until --tail -o "
    "--help --before",
)  # fmt: skip
def command_line(data: bytes) -> None:
    words = text(data.replace(b"\0", b"")).split("\n")
    command: click.Command = cli
    context: click.Context | None = None
    with contextlib.suppress(click.ClickException, click.exceptions.Exit), contextlib.redirect_stdout(None):
        while True:
            # What is only made ready is never run.
            context = command.make_context(command.name, words, parent=context)
            words = [*context._protected_args, *context.args] if isinstance(command, click.Group) else []
            if not isinstance(command, click.Group) or not words:
                return
            _, found, words = command.resolve_command(context, words)
            if found is None:
                return
            command = found


@target(
    "process-record",
    {"uid": "u", "installation": "i", "boot": "b", "port": 1, "main": [1, 2], "kin": [[3, 4]], "memory": "512Mi"},
    words='"uid" "installation" "boot" "port" "main" "kin" "memory" "ending" "exit" : , { } [ ]',
)
def process_record(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        home = Path(folder, "u")
        home.mkdir()
        (home / "record.json").write_bytes(data)
        with contextlib.suppress(Damaged):
            record = Homes(Path(folder)).read("u")
            if record is not None:
                record.after_boot("other").remote()


@target(
    "process-environment",
    b"AGENTPOOL_INSTANCE=u\0AGENTPOOL_INSTALLATION=i\0PORT=8080\0A=b=c\0",
    words="AGENTPOOL_INSTANCE= AGENTPOOL_INSTALLATION=i PORT=",
)
def process_environment(data: bytes) -> None:
    marked(data, "i")


def _entry() -> bytes:
    item = (
        b'{"uid":"u","transition":"Created","ordinal":"","created":"2026-01-01T00:00:00+00:00",'
        b'"seen":"2026-01-01T00:00:00+00:00"}'
    )
    return _summed(item)


def _summed(item: bytes) -> bytes:
    return b"%08x %b\n" % (crc32(item), item)


@target("ledger-spool", _entry() * 2, _entry()[:-9], _entry()[9:], b"{}",
        words='"uid" "transition" "ordinal" "created" "seen" -00- -13- 0000 : , { }')  # fmt: skip
def ledger_spool(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "000000000001.spool").write_bytes(data)
        # Also what bears the right checksum, which no chance would find.
        Path(folder, "000000000002.spool").write_bytes(b"".join(_summed(line) for line in data.split(b"\n")))
        with contextlib.suppress(Misconfigured):
            spool = Spool(Path(folder), 1 << 20)
            for entry, slot in spool.found():
                assert parsed(entry.line) == entry
                hash(entry.key)
                hash(month_of(spool.read(slot)))
                spool.delivered([slot])
            spool.close()


PASSWORD = "Pa55w0rd"


@target(
    "ledger-database",
    f"postgresql://u:{PASSWORD}@h:5432/d?connect_timeout=3",
    f"host=h port=1 dbname=d user=u password={PASSWORD}",
    f"postgresql://u:{PASSWORD}/x@h,[::1]:1,2/d",
    f"postgresql://u:{PASSWORD}[@h/d",
    words=f"postgresql:// postgres:// {PASSWORD} host= port= dbname= password= connect_timeout= [ ] @ : / ? # % %00 '",
)
def ledger_database(data: bytes) -> None:
    refused = ""
    try:
        where(checked(text(data)))
    except AgentpoolError as error:
        refused = str(error)
    assert PASSWORD not in refused
    # Whatever a password is made of, written as it is told to be, it is seen nowhere.
    with contextlib.suppress(AgentpoolError):
        place = where(checked(f"postgresql://user:{quote(data, safe='')}@host:5432/base"))
        assert place == "database base at host:5432"
