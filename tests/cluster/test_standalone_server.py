"""The standalone server as a program: durability, its data directory, its certificate, its port."""

import asyncio
import datetime as dt
import json
import resource
import socket
import stat
from functools import partial
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from controller.standalone import StandaloneError, StandaloneServer, expiry, tls
from controller.standalone.store import Record
from tests.cluster.conftest import DEADLINE, MERGE, Process, Server, eventually

API = "test.agentpool.dev/v1alpha1"
WIDGETS = f"/apis/{API}/namespaces/default/widgets"


def _widget(name: str) -> dict[str, object]:
    return {"apiVersion": API, "kind": "Widget", "metadata": {"name": name}, "spec": {"color": "red"}}


async def _write_until_it_dies(http: httpx.AsyncClient, writer: int, answered: dict[str, tuple[int, str]]) -> None:
    name = f"w{writer}"
    try:
        answer = await http.post(WIDGETS, json=_widget(name))
        for count in range(10**6):
            answered[name] = (int(answer.json()["metadata"]["resourceVersion"]), f"p{count - 1}" if count else "")
            patch = json.dumps({"status": {"phase": f"p{count}"}})
            answer = await http.patch(f"{WIDGETS}/{name}/status", content=patch, headers={"Content-Type": MERGE})
            assert answer.status_code == 200
    except (httpx.HTTPError, json.JSONDecodeError):
        return


async def _wrote(answered: dict[str, tuple[int, str]], writers: int, version: int) -> bool:
    return len(answered) == writers and max(answered.values())[0] > version


async def test_kill_dash_9_loses_nothing_that_was_answered(standalone: Process) -> None:
    highest = 0
    for _ in range(2):
        server = standalone.start()
        answered: dict[str, tuple[int, str]] = {}
        async with server.client() as http:
            await http.delete(WIDGETS)
            async with asyncio.TaskGroup() as group:
                for writer in range(8):
                    group.create_task(_write_until_it_dies(http, writer, answered))
                await eventually(partial(_wrote, answered, 8, highest + 150))
                standalone.kill()
        server = standalone.start()
        async with server.client() as http:
            listed = (await http.get(WIDGETS)).json()
            found = {item["metadata"]["name"]: item for item in listed["items"]}
            for name, (rv, phase) in answered.items():
                stored = int(found[name]["metadata"]["resourceVersion"])
                assert stored >= rv
                if stored == rv:
                    assert found[name].get("status", {}).get("phase", "") == phase
            newest = max(rv for rv, _ in answered.values())
            assert int(listed["metadata"]["resourceVersion"]) >= newest
            created = await http.post(WIDGETS, json=_widget("after"))
            assert int(created.json()["metadata"]["resourceVersion"]) > newest
            highest = int(created.json()["metadata"]["resourceVersion"])
        standalone.kill()


async def _events_since(server: Server, rv: str) -> list[tuple[str, str]]:
    params = {"watch": "true", "resourceVersion": rv, "timeoutSeconds": "1"}
    async with server.client() as http:
        lines = (await http.get(WIDGETS, params=params)).text.splitlines()
    events = [json.loads(line) for line in lines]
    return [(event["type"], event["object"].get("metadata", {}).get("name", "")) for event in events]


async def test_a_watch_resumes_over_a_restart(standalone: Process) -> None:
    server = standalone.start()
    async with server.client() as http:
        rv = (await http.get(WIDGETS)).json()["metadata"]["resourceVersion"]
        await http.post(WIDGETS, json=_widget("a"))
        await http.delete(f"{WIDGETS}/a")
        await http.post(WIDGETS, json=_widget("b"))
    before = await _events_since(server, rv)
    assert standalone.stop() == ""
    again = standalone.start()
    assert again.url == server.url
    assert again.token == server.token
    assert await _events_since(again, rv) == before == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b")]


async def test_a_version_that_history_has_forgotten_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.standalone.store.HISTORY", 8)
    async with StandaloneServer(tmp_path / "data") as running:
        server = Server.of("standalone", running.kubeconfig)
        async with server.client() as http:
            path = "/api/v1/namespaces/default/configmaps"
            first = (await http.get(path)).json()["metadata"]["resourceVersion"]
            page = (await http.post(path, json={"metadata": {"name": "c"}})).json()
            await http.post(path, json={"metadata": {"name": "d"}})
            token = (await http.get(path, params={"limit": "1"})).json()["metadata"]["continue"]
            for count in range(20):
                patch = json.dumps({"data": {"n": str(count)}})
                await http.patch(f"{path}/c", content=patch, headers={"Content-Type": MERGE})
            watch = await http.get(path, params={"watch": "true", "resourceVersion": first, "timeoutSeconds": "5"})
            event = json.loads(watch.text)
            assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
            continued = await http.get(path, params={"limit": "1", "continue": token})
            assert (continued.status_code, continued.json()["reason"]) == (410, "Expired")
            exact = {"resourceVersion": page["metadata"]["resourceVersion"], "resourceVersionMatch": "Exact"}
            assert (await http.get(path, params=exact)).status_code == 410


async def test_a_full_disk_refuses_writes_and_the_server_lives(standalone: Process) -> None:
    server = standalone.start()
    async with server.client() as http:
        kept = (await http.post(WIDGETS, json=_widget("kept"))).json()
        largest = max(file.stat().st_size for file in standalone.folder.glob("objects.db*"))
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.prlimit(standalone.pid, resource.RLIMIT_FSIZE, (largest, hard))
        big = _widget("big") | {"spec": {"color": "red", "free": {"x": "y" * 2_000_000}}}
        refused = await http.post(WIDGETS, json=big)
        assert refused.status_code in {500, 507}
        assert refused.json()["kind"] == "Status"
        assert "nothing was stored" in refused.json()["message"]
        assert (await http.get(f"{WIDGETS}/kept")).json() == kept
        assert (await http.get(f"{WIDGETS}/big")).status_code == 404
        resource.prlimit(standalone.pid, resource.RLIMIT_FSIZE, (hard, hard))
        created = await http.post(WIDGETS, json=big)
        assert created.status_code == 201
        assert int(created.json()["metadata"]["resourceVersion"]) > int(kept["metadata"]["resourceVersion"])
    standalone.stop()


async def test_secrets_of_the_server_are_for_its_owner_only(standalone: Process) -> None:
    standalone.start()
    assert stat.S_IMODE(standalone.folder.stat().st_mode) == 0o700
    private = {
        path.name for path in standalone.folder.iterdir() if path.name not in {"objects.db-wal", "objects.db-shm"}
    }
    assert {"kubeconfig", "token", "ca.key", "server.key"} <= private
    for name in ("kubeconfig", "token", "ca.key", "server.key"):
        assert stat.S_IMODE((standalone.folder / name).stat().st_mode) == 0o600


async def test_a_data_directory_has_one_server(standalone: Process) -> None:
    standalone.start()
    with pytest.raises(StandaloneError, match=r"in use by another server: stop it, or give another directory"):
        await StandaloneServer(standalone.folder).start()


async def test_a_port_in_use_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StandaloneError, match=rf"^port {port} on 127\.0\.0\.1 is in use .*give another port$"):
            await StandaloneServer(tmp_path / "data", port=port).start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::"])
async def test_it_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(StandaloneError, match="loopback only"):
        StandaloneServer(tmp_path / "data", host=host)


async def test_a_data_directory_that_cannot_be_used_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StandaloneError, match="cannot use the data directory"):
        await StandaloneServer(tmp_path / "file" / "data").start()


async def test_a_broken_database_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "objects.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StandaloneError, match="cannot open the database"):
        await StandaloneServer(tmp_path / "data").start()


async def test_a_definition_that_is_invalid_is_said_at_the_start(tmp_path: Path) -> None:
    bad = {"metadata": {"name": "x.y.z"}, "spec": {"group": "y.z", "scope": "Namespaced", "versions": [], "names": {}}}
    with pytest.raises(StandaloneError, match=r"is invalid: .*spec\.names\.plural"):
        await StandaloneServer(tmp_path / "data", crds=[bad]).start()
    async with StandaloneServer(tmp_path / "data"):
        pass


def _days_left(folder: Path, name: str) -> int:
    certificate = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
    return (certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)).days


def test_a_certificate_near_its_end_is_renewed_under_the_same_authority(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    first = tls.prepare(tmp_path, "127.0.0.1", now - dt.timedelta(days=tls.SERVER_DAYS - 10))
    assert _days_left(tmp_path, "server") < 11
    assert tls.prepare(tmp_path, "127.0.0.1", now) == first
    assert _days_left(tmp_path, "server") > 360
    served = (tmp_path / "server.crt").read_bytes()
    tls.prepare(tmp_path, "127.0.0.1", now)
    assert (tmp_path / "server.crt").read_bytes() == served


def test_a_broken_certificate_is_made_anew(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    tls.prepare(tmp_path, "127.0.0.1", now)
    (tmp_path / "server.crt").write_text("garbage")
    tls.prepare(tmp_path, "127.0.0.1", now)
    tls.server_context(tmp_path)


async def test_stopping_ends_open_watches_at_once(tmp_path: Path) -> None:
    server = StandaloneServer(tmp_path / "data")
    await server.start()
    params = {"watch": "true"}
    async with (
        Server.of("standalone", server.kubeconfig).client() as http,
        http.stream("GET", "/api/v1/namespaces", params=params) as response,
    ):
        lines = response.aiter_lines()
        await anext(lines)
        async with asyncio.timeout(DEADLINE):
            await server.stop()
            assert len([line async for line in lines]) <= 1


async def test_a_restart_with_the_same_definitions_writes_nothing(standalone: Process) -> None:
    versions = []
    for _ in range(2):
        server = standalone.start()
        async with server.client() as http:
            versions.append((await http.get(WIDGETS)).json()["metadata"]["resourceVersion"])
        assert standalone.stop() == ""
    assert versions[0] == versions[1]


async def test_a_client_that_hangs_up_leaves_no_watch_behind(tmp_path: Path) -> None:
    async with StandaloneServer(tmp_path / "data") as running:
        server = Server.of("standalone", running.kubeconfig)
        tasks = len(asyncio.all_tasks())
        params = {"watch": "true"}
        async with server.client() as http, http.stream("GET", "/api/v1/namespaces", params=params) as response:
            await anext(response.aiter_lines())
            assert len(asyncio.all_tasks()) > tasks

        async def is_over() -> bool:
            return len(asyncio.all_tasks()) <= tasks

        await eventually(is_over)


def _event(name: str, **times: str) -> Record:
    obj = {"metadata": {"name": name, "resourceVersion": "1"}, **times}
    return Record("events", obj, b"")


def test_events_are_kept_for_an_hour_after_they_were_last_seen() -> None:
    now = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    old, fresh = "2026-01-01T10:59:59Z", "2026-01-01T11:00:01Z"
    records = [
        _event("gone", lastTimestamp=old),
        _event("seen-again", eventTime=old, lastTimestamp=fresh),
        _event("micro", eventTime="2026-01-01T10:00:00.123456Z"),
        _event("timeless"),
    ]
    assert [record.name for record in expiry.expired(records, now)] == ["gone", "micro"]
