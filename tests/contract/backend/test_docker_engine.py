"""An engine that is not there, goes, comes back, or has no room; and the ways to it that cannot work."""

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from controller.backends.docker import open_backend
from controller.backends.docker.address import read_address
from controller.backends.docker.engine import Engine
from controller.errors import AgentpoolError, Misconfigured, Refused, Transient
from controller.ports import BackendOptions, Remote, RemoteState
from tests.contract.backend.docker_harness import DockerHarness, told
from tests.contract.backend.harness import end, eventually
from tests.contract.backend.test_docker_tls import Authority
from tests.docker import api, image
from tests.docker.api import EngineError
from tests.docker.engine import PrivateEngine
from tests.docker.plugin import require_own_engine

RUNNING, EXITED = RemoteState.RUNNING, RemoteState.EXITED


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ap-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def own_engine(folder: Path) -> Iterator[PrivateEngine]:
    """An engine that may be killed; containers live on without it."""
    require_own_engine()
    engine = PrivateEngine(folder / "engine", live_restore=True)
    try:
        engine.start()
    except EngineError as error:
        pytest.skip(str(error))
    yield engine
    engine.remove()


@pytest.fixture
async def world(own_engine: PrivateEngine) -> AsyncIterator[DockerHarness]:
    """A world on it."""
    with closing(api.Engine(own_engine.host)) as client:
        tag = await asyncio.to_thread(image.stub_image, client)
    made = DockerHarness(own_engine.host, tag)
    yield made
    await made.close()


async def can_list(backend: object) -> bool:
    try:
        await backend.list()  # type: ignore[attr-defined]
    except Transient:
        return False
    return True


async def reason_of(environ: dict[str, str]) -> str:
    """What a call to the engine of an environment says."""
    engine = Engine(read_address(environ))
    with pytest.raises(AgentpoolError) as caught:
        await engine.call(lambda docker: docker.containers.list())
    await engine.close()
    return str(caught.value)


async def test_an_engine_that_is_killed_and_comes_back_is_followed_again(
    world: DockerHarness, own_engine: PrivateEngine
) -> None:
    backend = await world.make()
    uids = [f"{world.installation}-{number}" for number in range(3)]
    remotes = [await backend.launch(world.order(uid)) for uid in uids]
    following = asyncio.ensure_future(anext(aiter(backend.changes())))
    pids = {uid: (await world.inspect(uid))["State"]["Pid"] for uid in uids}
    await asyncio.to_thread(own_engine.kill)
    with pytest.raises(Transient, match="start it, or set DOCKER_HOST"):
        await backend.list()
    # Whoever follows learns that the engine is gone, and may begin anew.
    with pytest.raises(Transient, match="broke off"):
        await following
    # One dies while there is no engine to tell of it.
    subprocess.run(["kill", "-9", str(pids[uids[0]])], check=True)
    await asyncio.to_thread(own_engine.restart)

    assert await told(backend, uids[0], EXITED)
    await eventually(lambda: can_list(backend))
    assert {remote.uid: remote.state for remote in await backend.list()} == {
        uids[0]: EXITED,
        uids[1]: RUNNING,
        uids[2]: RUNNING,
    }
    assert await backend.launch(world.order(uids[1])) == remotes[1]
    await world.kill_remote(uids[2])
    assert await told(backend, uids[2], EXITED)
    for uid in uids:
        await end(backend, uid)
    assert await world.containers() == []


async def test_an_engine_that_dies_during_launches_makes_no_instance_twice(
    world: DockerHarness, own_engine: PrivateEngine
) -> None:
    backend = await world.make()
    uids = [f"{world.installation}-{number}" for number in range(6)]
    launches = [asyncio.create_task(backend.launch(world.order(uid))) for uid in uids]
    await eventually(lambda: any(launch.done() for launch in launches))
    await asyncio.to_thread(own_engine.kill)
    await asyncio.wait(launches)
    assert all(launch.exception() is None or isinstance(launch.exception(), Transient) for launch in launches)
    await asyncio.to_thread(own_engine.restart)
    await eventually(lambda: can_list(backend))

    for uid in uids:
        try:
            remote = await eventually(lambda uid=uid: launched(backend, world, uid))
        except Refused as error:
            # An engine that dies in the middle of a start forgets the process: the instance is given up.
            assert error.reason == "EngineLostContainer"  # noqa: PT017
            assert await world.containers(uid) == []
            continue
        # What was just starting may have died with the engine: then it is not started a second time.
        assert len(await world.containers(uid)) == 1
        assert await world.count_running(uid) == (remote.state is RUNNING)
    for uid in uids:
        await end(backend, uid)
    assert await world.containers() == []


async def launched(backend: object, world: DockerHarness, uid: str) -> Remote | None:
    try:
        remote: Remote = await backend.launch(world.order(uid))  # type: ignore[attr-defined]
    except Transient:
        return None
    return remote


async def test_an_operator_starts_without_an_engine_and_finds_it_later(own_engine: PrivateEngine, folder: Path) -> None:
    host = own_engine.host
    await asyncio.to_thread(own_engine.stop)
    backend = (await open_backend(BackendOptions("an-installation", folder, (), {"DOCKER_HOST": host}))).backend
    try:
        with pytest.raises(Transient, match=r"does not answer: start it, or set DOCKER_HOST"):
            await backend.list()
        await asyncio.to_thread(own_engine.start)
        assert await eventually(lambda: can_list(backend))
    finally:
        await backend.close()


async def test_a_full_disk_is_told_as_that_and_passes_when_there_is_room_again(folder: Path) -> None:
    require_own_engine()
    place = folder / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", place], check=False)
    if mounted.returncode != 0:
        pytest.skip("a file system of its own can be mounted only by root")
    engine = PrivateEngine(place / "engine")
    try:
        engine.start()
        with closing(api.Engine(engine.host)) as client:
            tag = await asyncio.to_thread(image.stub_image, client)
        world = DockerHarness(engine.host, tag)
        try:
            await _fill_and_empty(world, place)
        finally:
            await world.close()
    finally:
        engine.remove()
        subprocess.run(["umount", "--lazy", place], check=True)


async def _fill_and_empty(world: DockerHarness, place: Path) -> None:
    backend = await world.make()
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    with pytest.raises(Refused, match="disk of the Docker engine is full") as caught:
        await backend.launch(world.order(world.installation))
    assert caught.value.reason == "EngineDiskFull"
    ballast.unlink()

    assert (await backend.launch(world.order(world.installation))).state is RUNNING
    await end(backend, world.installation)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"DOCKER_HOST": "/var/run/docker.sock"}, "has no scheme"),
        ({"DOCKER_HOST": "unix://docker.sock"}, "absolute path"),
        ({"DOCKER_HOST": "ssh://ada@docker.example"}, "forward the engine's socket"),
        ({"DOCKER_HOST": "ftp://docker.example"}, "does not speak"),
        ({"DOCKER_HOST": "tcp://docker.example:http"}, "no address of an engine"),
        ({"DOCKER_HOST": "tcp://docker.example:99999"}, "no address of an engine"),
        ({"DOCKER_HOST": "tcp://"}, "a host and a port"),
        ({"DOCKER_HOST": "tcp://docker.example:1/v1"}, "a host and a port"),
        ({"DOCKER_HOST": "tcp://d:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"}, "/nowhere/ca.pem"),
        ({"DOCKER_HOST": "tcp://docker.example:2375"}, "set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH"),
        ({"DOCKER_HOST": "http://10.0.0.7:2375"}, "or forward the engine's socket"),
        ({"DOCKER_HOST": "tcp://[2001:db8::1]"}, "by TLS only"),
    ],
    ids=[
        *["no scheme", "relative", "ssh", "ftp", "no port", "no such port", "no host", "path", "no certificates"],
        *["no TLS to a name", "no TLS to an address", "no TLS and no port"],
    ],
)
async def test_an_address_that_can_be_no_engine_s_is_told_at_the_start(
    folder: Path, environ: dict[str, str], says: str
) -> None:
    with pytest.raises(Misconfigured, match=says):
        await open_backend(BackendOptions("an-installation", folder, (), environ))


@pytest.mark.parametrize(
    "host", ["tcp://localhost:2375", "tcp://127.0.0.1", "http://127.1.2.3:2375", "tcp://[::1]:2375"]
)
def test_without_tls_an_engine_on_loopback_is_taken(host: str) -> None:
    assert read_address({"DOCKER_HOST": host}).local


async def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(Misconfigured, match="use TLS") as caught:
        read_address({"DOCKER_HOST": "tcp://ada:very-secret@docker.example:2375"})
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "ada:very-secret@docker.example:2376",
        "ada:very-secret\uff20docker.example:2376",
        "ssh://ada:very-secret@docker.example",
        "unix://ada:very-secret@docker.example",
        "ada:very-secret@ftp://docker.example",
        "tcp://ada:very-secret/x@docker.example",
        "tcp://ada:1/very-secret@docker.example",
        "tcp://ada:very-secret\uff20docker.example",
        "tcp://ada:very-secret\uff1f@docker.example",
        "tcp://ada:[very-secret@docker.example",
        "tcp://docker.example:very-secret",
    ],
)
def test_however_badly_it_is_written_no_password_is_shown(host: str) -> None:
    with pytest.raises(Misconfigured, match="DOCKER_HOST") as caught:
        read_address({"DOCKER_HOST": host})
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("unix:///no/such/docker.sock", "does not answer: start it, or set DOCKER_HOST"),
        ("tcp://127.0.0.1:1", "does not answer: start it, or set DOCKER_HOST"),
    ],
    ids=["no socket", "nobody listens"],
)
async def test_an_engine_that_is_not_there_is_told_with_a_remedy(host: str, says: str) -> None:
    assert says in await reason_of({"DOCKER_HOST": host})


async def test_a_host_that_is_not_known_is_told_with_a_remedy(certificates: Path) -> None:
    tls = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates)}
    said = await reason_of({"DOCKER_HOST": "tcp://no-such-host.invalid:2376", **tls})
    assert "has no address: correct DOCKER_HOST" in said


async def test_a_socket_that_is_not_for_this_user_is_told(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    path = folder / "docker.sock"
    server = await asyncio.start_unix_server(lambda reader, writer: None, path)
    subprocess.run(["chmod", "000", path], check=True)
    subprocess.run(["chmod", "755", folder], check=True)
    script = (
        "import asyncio, os\n"
        "from controller.backends.docker.address import read_address\n"
        "from controller.backends.docker.engine import Engine\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "async def main():\n"
        f"    engine = Engine(read_address({{'DOCKER_HOST': 'unix://{path}'}}))\n"
        "    try: await engine.get('containers/json')\n"
        "    except Exception as error: print(error)\n"
        "    await engine.close()\n"
        "asyncio.run(main())\n"
    )
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
        )
        output, _ = await child.communicate()
    finally:
        server.close()
    assert b"may not be used by this user: let the operator run with the group" in output


@pytest.fixture
def certificates(folder: Path) -> Path:
    """An authority, a server and a client, as Docker's documentation makes them."""
    place = folder / "certificates"
    place.mkdir()

    def run(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)

    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "2",
        "-subj", "/CN=ca")  # fmt: skip
    (place / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr",
            "-subj", f"/CN={name}")  # fmt: skip
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2", "-extfile", "extensions")  # fmt: skip
    shutil.copy(place / "client.pem", place / "cert.pem")
    shutil.copy(place / "client-key.pem", place / "key.pem")
    return place


async def _serve(tls: ssl.SSLContext | None, api: str = "1.41") -> tuple[web.AppRunner, int]:
    """Something that answers as the front door of an engine does."""

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.json_response({"ApiVersion": api, "MinAPIVersion": "1.12", "Version": "20.10"})
        return web.json_response([])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner, runner.addresses[0][1]


async def test_an_engine_behind_tls_is_reached_with_the_certificates(certificates: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    tls.load_cert_chain(certificates / "server.pem", certificates / "server-key.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    runner, port = await _serve(tls)
    environ = {
        "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(certificates),
    }
    try:
        engine = Engine(read_address(environ))
        assert await engine.get("containers/json") == []
        await engine.close()
        other = certificates / "other"
        other.mkdir()
        for name in ("cert.pem", "key.pem"):
            shutil.copy(certificates / name, other / name)
        shutil.copy(certificates / "server.pem", other / "ca.pem")
        assert "does not vouch for" in await reason_of({**environ, "DOCKER_CERT_PATH": str(other)})

        (other / "key.pem").write_text("no key")
        with pytest.raises(Misconfigured, match=r"must hold ca\.pem"):
            read_address({**environ, "DOCKER_CERT_PATH": str(other)})
    finally:
        await runner.cleanup()


async def test_tls_where_the_engine_has_none_is_told(certificates: Path) -> None:
    runner, port = await _serve(None)
    try:
        said = await reason_of(
            {
                "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
                "DOCKER_TLS_VERIFY": "1",
                "DOCKER_CERT_PATH": str(certificates),
            }
        )
    finally:
        await runner.cleanup()
    assert "speaks no TLS there" in said


async def test_an_engine_that_wants_tls_says_so() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        # Word for word what an engine with --tlsverify answers.
        writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        said = await reason_of({"DOCKER_HOST": f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    finally:
        server.close()
    assert "speaks TLS only: set DOCKER_TLS_VERIFY=1" in said


@asynccontextmanager
async def forwarded(containers: DockerHarness, address: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The engine of a world over TCP."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(containers.host.removeprefix("unix://"))
        await asyncio.gather(pipe(reader, forth), pipe(back, writer))

    if not containers.host.startswith("unix://"):
        pytest.skip("the engine is not on a unix socket")
    server = await asyncio.start_server(forward, address, 0, ssl=tls)
    try:
        yield f"tcp://{address}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_an_engine_over_tcp_does_all_of_it(containers: DockerHarness) -> None:
    async with forwarded(containers, "127.0.0.1") as host:
        backend = await containers.make(host=host)
        uid = containers.installation
        remote = await backend.launch(containers.order(uid))
        assert remote.url is not None
        assert remote.url.startswith("http://127.0.0.1:")
        await containers.kill_remote(uid)
        assert await told(backend, uid, EXITED)
        await end(backend, uid)
        await backend.close()


async def test_an_engine_on_another_host_publishes_where_it_is_reached(containers: DockerHarness, folder: Path) -> None:
    network = await asyncio.to_thread(containers.engine.get, "/networks/bridge")
    # An address of this host that is not loopback: all that makes a host another one.
    address = network["IPAM"]["Config"][0]["Gateway"]
    authority, tls = Authority("of another host"), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server = authority.write(folder / "server", server=True, address=address)
    tls.load_cert_chain(server / "cert.pem", server / "key.pem")
    ours = authority.write(folder / "ours")
    containers.environ |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(ours)}
    async with forwarded(containers, address, tls) as host:
        backend = await containers.make(host=host)
        uid = containers.installation
        with pytest.raises(Refused, match=r"set backend\.docker\.publishAddress"):
            await backend.launch(containers.order(uid))
        remote = await backend.launch(containers.order(uid, docker={"publishAddress": "0.0.0.0"}))
        await containers.ready(uid)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{remote.url}/")).json()["PORT"] == "8080"
        assert (remote.url or "").startswith(f"http://{address}:")
        await backend.close()


async def test_an_engine_that_is_too_old_is_refused() -> None:
    runner, port = await _serve(None, api="1.30")
    try:
        said = await reason_of({"DOCKER_HOST": f"tcp://127.0.0.1:{port}"})
    finally:
        await runner.cleanup()
    assert "it must be 19.03 or newer" in said


async def test_what_is_no_engine_is_told() -> None:
    runner, port = await _serve(None, api="")
    try:
        said = await reason_of({"DOCKER_HOST": f"tcp://127.0.0.1:{port}"})
    finally:
        await runner.cleanup()
    assert "none of a Docker engine" in said
