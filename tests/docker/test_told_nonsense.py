"""agentpool image bake where the engine, or a container's files, are not what they ought to be: always a sentence."""

import base64
import io
import json
import tarfile
from typing import Any

import pytest

from controller.backends.docker.bake import Bake, BakeOrder
from controller.backends.docker.golden import Forbidden, LeaveOut
from controller.backends.docker.layer import Findings, Layer
from controller.errors import AgentpoolError, Refused
from controller.model import BackendSpec, Template
from controller.ports import LaunchOrder
from tests.doubles.engine import ToldEngine

CHANGES = json.dumps([{"Path": "/data", "Kind": 0}, {"Path": "/data/a", "Kind": 1}, {"Path": "/etc/x", "Kind": 0}])
NO_DIRECTORY = base64.b64encode(b'{"mode":420}').decode()


def published(ip: str, port: str) -> dict[str, Any]:
    return {"NetworkSettings": {"Ports": {"8080/tcp": [{"HostIp": ip, "HostPort": port}]}}}


RUNNING = {
    "State": {"Running": True, "ExitCode": 0},
    "HostConfig": {"Memory": 0},
    "Mounts": [{"Destination": "/tmp"}],
    **published("127.0.0.1", "32768"),
}


def archive(content: bytes = b"weights") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as packed:
        entry = tarfile.TarInfo("data/a")
        entry.size = len(content)
        packed.addfile(entry, io.BytesIO(content))
    return file.getvalue()


async def packed(changes: str, stat: str | None, files: bytes) -> tuple[Findings, list[str]]:
    engine = ToldEngine(changes.encode(), stat=stat, stream=files)
    layer = Layer(engine, "c", "/data", LeaveOut("/data"), Forbidden("/data", {}), whole=True)
    with io.BytesIO() as into:
        findings = await layer.pack(into)
        with tarfile.open(fileobj=into) as made:
            return findings, made.getnames()


def bake(inspection: object) -> Bake:
    launch = LaunchOrder(
        uid="bake-0", name="bake", namespace="", pool="p", backend=BackendSpec.model_validate({"docker": {}}),
        template=Template(image="i", state_dir="/data"), env={},
    )  # fmt: skip
    order = BakeOrder(launch, {}, "golden", "1", (), 0, "2026-01-01T00:00:00Z")
    return Bake(ToldEngine(json.dumps(inspection).encode()), order, "name", "0", "c", "base")


async def test_what_has_changed_is_packed() -> None:
    findings, names = await packed(CHANGES, NO_DIRECTORY, archive())
    assert (findings.carried, findings.size, names) == (1, 7, ["data/a"])


NONSENSE: dict[str, tuple[str, str | None, bytes]] = {
    "changes that are no list": ('{"Path": "/data"}', NO_DIRECTORY, archive()),
    "changes that are a number": ("7", NO_DIRECTORY, archive()),
    "a change of no path": ('[{"Kind": 1}]', NO_DIRECTORY, archive()),
    "a path that is no text": ('[{"Path": 1, "Kind": 1}]', NO_DIRECTORY, archive()),
    "a path with half a character": ('[{"Path": "/\\ud800", "Kind": 1}]', NO_DIRECTORY, archive()),
    "not told what a path is": (CHANGES, None, archive()),
    "told in something else than base64": (CHANGES, "a", archive()),
    "told in something else than JSON": (CHANGES, "aaaa", archive()),
    "told without its mode": (CHANGES, base64.b64encode(b"{}").decode(), archive()),
    "files that are no archive": (CHANGES, NO_DIRECTORY, b"\1" * 1024),
    "no files at all": (CHANGES, NO_DIRECTORY, b""),
    "an archive that ends too soon": (CHANGES, NO_DIRECTORY, archive(b"x" * 2000)[:1600]),
}


@pytest.mark.parametrize(("changes", "stat", "files"), NONSENSE.values(), ids=NONSENSE)
async def test_files_and_changes_of_another_shape_are_told_in_a_sentence(
    changes: str, stat: str | None, files: bytes
) -> None:
    with pytest.raises(AgentpoolError, match="is none of a Docker engine"):
        await packed(changes, stat, files)


async def test_a_container_that_runs_is_found_where_it_listens() -> None:
    running = bake(RUNNING)
    await running.look()
    assert running.url == "http://127.0.0.1:32768"


STRANGE: dict[str, Any] = {
    "nothing": {},
    "a list": [],
    "no state": RUNNING | {"State": None},
    "mounts without a place": RUNNING | {"Mounts": [{}]},
    "no ports": RUNNING | {"NetworkSettings": {"Ports": None}},
    "a port of no host": RUNNING | published("", "1"),
    "a port that is no number": RUNNING | published("::", "x"),
    "an end without what there was": {"State": {"Running": False}},
}


@pytest.mark.parametrize("inspection", STRANGE.values(), ids=STRANGE)
async def test_an_inspection_of_another_shape_is_told_in_a_sentence(inspection: object) -> None:
    with pytest.raises(AgentpoolError, match="is none of a Docker engine"):
        await bake(inspection).look()


async def test_a_program_that_has_ended_is_told_although_its_ports_are_gone() -> None:
    ended = RUNNING | {"State": {"Running": False, "ExitCode": 3}, "NetworkSettings": {"Ports": None}}
    with pytest.raises(Refused, match="ended before it was ready: it exited with code 3"):
        await bake(ended).look()
