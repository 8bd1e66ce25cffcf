"""What reaches the operator from where instances run: the Docker engine, Railway."""

import asyncio
import base64
import contextlib
import io
import json
import math
import tarfile
from functools import cache

from aiodocker import DockerError
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from controller.backends.docker.address import read_address as docker_address
from controller.backends.docker.answers import common_version, message_in, read_event, value_in
from controller.backends.docker.bake import Bake, BakeOrder
from controller.backends.docker.errors import is_port_in_use, sort, sort_pull
from controller.backends.docker.exits import explained, may_be_told_more
from controller.backends.docker.golden import Forbidden, LeaveOut
from controller.backends.docker.images import pull_status
from controller.backends.docker.inventory import read_containers, read_volumes
from controller.backends.docker.layer import Layer
from controller.backends.docker.output import unframed
from controller.backends.last_line import LINE_LIMIT, last_line_of
from controller.backends.railway import ratelimit, shapes
from controller.backends.railway.address import read_address as railway_address
from controller.backends.railway.answers import Answer, judge
from controller.backends.railway.failures import Rejected
from controller.backends.railway.failures import sort as sort_rejected
from controller.backends.railway.names import CONFIG, Names
from controller.backends.railway.patch import drift_of
from controller.errors import AgentpoolError
from controller.model import BackendSpec, Template
from controller.ports import LaunchOrder
from tests.doubles.engine import ToldEngine
from tests.fuzz.http import loop
from tests.fuzz.target import environment, lines, target, text

CONTAINER = {
    "Id": "abc", "Names": ["/a"], "State": "running", "Status": "Exited (1) 2 s ago", "Created": 1,
    "Labels": {"agentpool.dev/instance-uid": "u"}, "Ports": [{"IP": "127.0.0.1", "PublicPort": 1}],
}  # fmt: skip
STATE = {"State": {"ExitCode": 137, "OOMKilled": True, "Error": "x"}, "HostConfig": {"Memory": 1048576}}
EVENT = {"timeNano": 1700000000123456789, "Actor": {"ID": "abc", "Attributes": {"agentpool.dev/instance-uid": "u"}}}
SHAPES = (
    shapes.EnvironmentPage, shapes.EnvironmentConfigAnswer, shapes.ServiceAnswer, shapes.VariablesAnswer,
    shapes.DeploymentLogsAnswer, shapes.BuildLogsAnswer, shapes.ProjectTokenAnswer, shapes.ServiceCreated,
    shapes.VolumeCreated, shapes.ServiceDomainCreated,
)  # fmt: skip


@target(
    "docker-list",
    [CONTAINER],
    {"Volumes": [{"Name": "v", "Labels": CONTAINER["Labels"]}]},
    words='"Id" "Names" "State" "Status" "Created" "Labels" "Ports" "IP" "PublicPort" : , { }',
)
def docker_list(data: bytes) -> None:
    with contextlib.suppress(AgentpoolError):
        listed = value_in(data, "a list")
        with contextlib.suppress(AgentpoolError):
            read_volumes(listed)
        for container in (each for found in read_containers(listed).values() for each in found):
            container.remote(docker_address({}))


@target("docker-inspection", STATE, words='"State" "ExitCode" "OOMKilled" "Error" "HostConfig" "Memory" : , { }')
def docker_inspection(data: bytes) -> None:
    with contextlib.suppress(AgentpoolError):
        found = value_in(data, "an inspection")
        may_be_told_more(found)
        explained(found)


def _archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for name, kind, content, points_to in (
            ("data", tarfile.DIRTYPE, b"", ""),
            ("data/a", tarfile.REGTYPE, b"key", ""),
            ("data/\u00fc", tarfile.SYMTYPE, b"", "a"),
            ("data/c", tarfile.LNKTYPE, b"", "data/a"),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(content), points_to
            packed.addfile(entry, io.BytesIO(content))
    return file.getvalue().rstrip(b"\0") + b"\0" * 600


def _summed(archive: bytes) -> bytes:
    """With the right checksum in each header, which no chance would find."""
    blocks = [archive[start : start + 512] for start in range(0, len(archive), 512)]
    for number, block in enumerate(blocks):
        if block[257:262] == b"ustar":
            blocks[number] = block[:148] + b"%06o\0 " % (sum(block[:148]) + sum(block[156:512]) + 256) + block[156:]
    return b"".join(blocks)


LAYER = json.dumps([{"Path": f"/data{name}", "Kind": 1} for name in ("", "/a", "/\u00fc", "/c")] + [
    {"Path": "/etc/x", "Kind": 0}, {"Path": "/dev/y", "Kind": 2}, {"Path": "/gone", "Kind": 2},
]).encode()  # fmt: skip


@target(
    "docker-layer",
    b"\n".join((LAYER, base64.b64encode(b'{"name":"x","mode":2147484141}'), _archive())),
    b"\n".join((LAYER, base64.b64encode(b'{"mode":420}'), _archive()[:1200])),
    words='"Path" "Kind" /data / .. : , { } ustar mtime=nan size=-1 GNU.sparse.map',
)
def docker_layer(data: bytes) -> None:
    [changes, stat], files = lines(data, 2)
    for archive in (files, _summed(files)):
        engine = ToldEngine(changes.encode(errors="surrogateescape"), stat=stat or None, stream=archive)
        layer = Layer(engine, "c", "/data", LeaveOut("/data", ["c"]), Forbidden("/data", {"A": "secret-0"}), whole=True)
        with io.BytesIO() as into, contextlib.suppress(AgentpoolError):
            loop().run_until_complete(layer.pack(into))
            with tarfile.open(fileobj=into) as packed:
                packed.getmembers()


@cache
def _bake_order() -> BakeOrder:
    launch = LaunchOrder(
        uid="bake-0", name="bake", namespace="", pool="p", backend=BackendSpec.model_validate({"docker": {}}),
        template=Template(image="i", state_dir="/data"), env={},
    )  # fmt: skip
    return BakeOrder(launch, {}, "golden", "1", (), 0, "2026-01-01T00:00:00Z")


@target(
    "docker-bake",
    {**STATE, "State": {"Running": True}, "Mounts": [{"Destination": "/tmp"}],
     "NetworkSettings": {"Ports": {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]}}},
    {**STATE, "State": {"Running": False, "ExitCode": 137, "OOMKilled": True, "Error": "x"}},
    {"State": {"Running": True}, "Mounts": [{"Destination": "/data"}]},
    words='"State" "Running" "Mounts" "Destination" "NetworkSettings" "Ports" "8080/tcp" "HostIp" "HostPort" :: , { }',
)  # fmt: skip
def docker_bake(data: bytes) -> None:
    bake = Bake(ToldEngine(data, stream=data), _bake_order(), "name", "0", "c", "base")
    with contextlib.suppress(AgentpoolError):
        loop().run_until_complete(bake.look())


@target("docker-event", EVENT, words='"timeNano" "Actor" "Attributes" "ID" : , { }')
def docker_event(data: bytes) -> None:
    with contextlib.suppress(AgentpoolError):
        read_event(data)


@target(
    "docker-pull",
    {"status": "Status: Downloaded"},
    {"errorDetail": {"message": "x"}, "error": "x"},
    words='"status" "error"',
)
def docker_pull(data: bytes) -> None:
    with contextlib.suppress(AgentpoolError, DockerError):
        pull_status(data)


@target(
    "docker-version",
    {"ApiVersion": "1.47", "MinAPIVersion": "1.24", "Version": "27"},
    words='"ApiVersion" "MinAPIVersion" 1. : ,',
)
def docker_version(data: bytes) -> None:
    with contextlib.suppress(AgentpoolError):
        common_version(value_in(data, "its version"), (1, 40), (1, 47))


@target("docker-refusal", b'409\n{"message":"Conflict. The container name is in use"}', b"500\nno space left on device",
        words='"message" denied unauthorized manifest unknown network not found')  # fmt: skip
def docker_refusal(data: bytes) -> None:
    [status], body = lines(data, 1)
    code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 500
    error = DockerError(code, message_in(body.decode(errors="replace")))
    sort(error)
    sort_pull(error, "image")
    is_port_in_use(error)


@target("docker-log", b"\x01\x00\x00\x00\x00\x00\x00\x03abc\x02\x00\x00\x00\x00\x00\x00\x02\x1b[", words="")
def docker_log(data: bytes) -> None:
    async def read() -> bytes:
        stream = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16, loop=asyncio.get_running_loop())
        for start in range(0, len(data), 5):
            stream.feed_data(data[start : start + 5])
        stream.feed_eof()
        return b"".join([chunk async for chunk in unframed(stream)])

    written = loop().run_until_complete(read())
    assert len(written) <= len(data)
    for tail in (written, data):
        line = last_line_of(tail)
        assert line == "" or line.isprintable()
        assert len(line) <= LINE_LIMIT


@target(
    "docker-address", "DOCKER_HOST=tcp://h:1", "DOCKER_HOST=unix:///x", words="DOCKER_HOST= tcp:// ssh:// [ ] @ : ? #"
)
def docker_addresses(data: bytes) -> None:
    given = environment(data)
    given.pop("DOCKER_CERT_PATH", None)
    with contextlib.suppress(AgentpoolError):
        docker_address(given)


@target(
    "railway-answer",
    b'200\n{"data":{"environment":{"id":"e","name":"n","projectId":"p","serviceInstances":{"edges":[{"node":'
    b'{"serviceId":"s",'
    b'"serviceName":"x","latestDeployment":{"id":"d","status":"SUCCESS"}}}],"pageInfo":{"hasNextPage":false}},'
    b'"config":{"services":{"s":{"variables":{"A":{"value":"b"}}}}}}}}',
    b'200\n{"errors":[{"message":"Not Authorized","path":["x"],'
    b'"extensions":{"code":"INTERNAL","traceId":"t"}}],"data":null}',
    b'200\n{"data":{"deploymentLogs":[{"timestamp":"t","message":"m"}],"variables":{"a":null},'
    b'"projectToken":{"projectId":"p","environmentId":"e"}}}',
    words='"data" "errors" "message" "path" "extensions" "code" "environment" "serviceInstances" "edges" : , { }',
)
def railway_answer(data: bytes) -> None:
    [status], body = lines(data, 1)
    code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 200
    outcome = judge(Answer(code, {}, body), "railway-token")
    if isinstance(outcome, Rejected):
        sort_rejected(outcome, "create the service")
    if isinstance(outcome, dict):
        for shape in SHAPES:
            with contextlib.suppress(AgentpoolError):
                shapes.read(shape, outcome)


@target(
    "railway-drift",
    {"source": {"image": "i"}, "variables": {"A": {"value": "b"}, "B": {"value": None}, "C": None,
                                             CONFIG: {"value": '{"A":"0123abcd","":"0123abcd"}'}}},
    {"source": None, "variables": {CONFIG: {"value": "[[]]"}, "RAILWAY_X": {"value": "y"}}},
    words=f'"source" "image" "repo" "variables" "value" "{CONFIG}" "A" : , {{ }} [ ]',
)  # fmt: skip
def railway_drift(data: bytes) -> None:
    outcome = judge(Answer(200, {}, b'{"data":{"environment":{"id":"e","config":{"services":{"s":%b}}}}}' % data), "t")
    if isinstance(outcome, dict):
        with contextlib.suppress(AgentpoolError):
            services = shapes.read(shapes.EnvironmentConfigAnswer, outcome).environment.config.services
            for config in services.values():
                if config is not None:
                    drift_of(config)
    # What another program has stored there, whatever the rest is.
    drift_of(shapes.ServiceConfig(variables={CONFIG: shapes.Variable(value=data.decode(errors="replace"))}))


@target("railway-refusal", "Rate limit: try again in 30 seconds", "Project with id x not found",
        "You exceeded the limit of your plan",
        words="not found already exists limit exceeded token unauthorized image region after 9 s \" '")  # fmt: skip
def railway_refusal(data: bytes) -> None:
    rejected = Rejected(text(data))
    assert rejected.wish is None or rejected.wish < math.inf
    sort_rejected(rejected, "create the service")


@target(
    "railway-rate-limit",
    "X-RateLimit-Limit: 1000\nX-RateLimit-Remaining: 3\nX-RateLimit-Reset: 1760000000\nRetry-After: 3\n"
    "Date: Fri, 27 Nov 2026 23:00:00 GMT",
    "Retry-After: Fri, 27 Nov 2026 23:00:00 GMT\nX-RateLimit-Reset: 2026-11-27T23:00:00Z",
    words="X-RateLimit-Limit: X-RateLimit-Remaining: X-RateLimit-Reset: Retry-After: Date: GMT . - + nan inf",
)
def railway_rate_limit(data: bytes) -> None:
    pairs = (line.partition(": ") for line in text(data).split("\n"))
    told = ratelimit.read({name: value for name, _, value in pairs})
    for seconds in (told.reset, told.retry_after):
        assert seconds is None or 0 <= seconds <= ratelimit.LONGEST_SECONDS


@target("railway-name", "agent-abcd-0123456789ab", Names("i", "e").creation_name("u"),
        Names("i", "e").doomed_volume("5a2b0c1e-0000-4000-8000-000000000001"), words="- agent kept")  # fmt: skip
def railway_name(data: bytes) -> None:
    names = Names("i", "e")
    names.tag_of(text(data))
    names.owner_of_doomed(text(data))
    assert len(names.claimed_name(text(data), "u")) <= 32


@target("railway-address", "RAILWAY_API_URL=https://h\nRAILWAY_EDGE_URL=https://{domain}\nRAILWAY_DRIFT_SECONDS=5",
        words="RAILWAY_API_URL= RAILWAY_EDGE_URL= RAILWAY_DRIFT_SECONDS= http://localhost {domain} nan inf [ "
        "]")  # fmt: skip
def railway_addresses(data: bytes) -> None:
    with contextlib.suppress(AgentpoolError):
        railway_address(environment(data)).url_of("x.up.railway.app")
