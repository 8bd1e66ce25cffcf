"""A whole system whose instances are containers, and what its engine has of them."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.docker.api import Engine, EngineError
from tests.e2e.api import Object
from tests.e2e.system import System, set_up, uid_of
from tests.e2e.waiting import eventually

INSTALLATION = "agentpool.dev/installation"
UID = "agentpool.dev/instance-uid"
POOL = "agentpool.dev/pool"
ON_DELETE = "agentpool.dev/on-delete"


@dataclass
class DockerSystem(System):
    """One operator with a Docker engine; its pools run the agent's real image unless told otherwise."""

    engine: Engine
    image: str
    installation: str
    """What marks its containers and volumes."""

    # What a person does.

    def pool(self, name: str, *, template: Object | None = None, **spec: Any) -> str:
        whole = {"image": self.image, **(template or {})}
        return super().pool(name, template=whole, **{"backend": {"docker": {}}, **spec})

    def on_container(self, instance: Object, verb: str, **query: str) -> None:
        """What ``docker stop``, ``docker kill`` and their kin do."""
        self.engine.post(f"/containers/{self.id_of(instance)}/{verb}", **query)

    def remove_container(self, instance: Object) -> None:
        """``docker rm --force``."""
        self.engine.delete(f"/containers/{self.id_of(instance)}", force="1", v="1")

    def run_inside(self, instance: Object, script: str) -> str:
        """What a shell script prints in the container, as the user of the image."""
        body = {"Cmd": ["sh", "-c", script], "AttachStdout": True, "AttachStderr": True, "Tty": True}
        made = self.engine.post(f"/containers/{self.id_of(instance)}/exec", body)
        return self.engine.post_for_bytes(f"/exec/{made['Id']}/start", {"Tty": True}).decode()

    # What there is.

    def containers(self, *labels: str) -> list[Object]:
        """The lines of ``docker ps --all`` with the mark of this installation, and these labels."""
        return listed(self.engine, f"{INSTALLATION}={self.installation}", *labels)

    def volumes(self, *labels: str) -> list[Object]:
        """The volumes with the mark of this installation, and these labels."""
        filters = json.dumps({"label": [f"{INSTALLATION}={self.installation}", *labels]})
        return self.engine.get("/volumes", filters=filters)["Volumes"] or []

    def left_of(self, uid: str) -> list[str]:
        """Names of what the engine still has of an instance."""
        label = f"{UID}={uid}"
        names = [container["Names"][0] for container in self.containers(label)]
        return names + [volume["Name"] for volume in self.volumes(label)]

    def id_of(self, instance: Object) -> str:
        """The id of its container, whole."""
        (container,) = self.containers(f"{UID}={uid_of(instance)}")
        return str(container["Id"])

    def inspect(self, instance: Object) -> Object:
        """What ``docker inspect`` shows."""
        shown: Object = self.engine.get(f"/containers/{self.id_of(instance)}/json")
        return shown

    def status(self, instance: Object) -> str:
        """running, paused, exited, or gone."""
        found = self.containers(f"{UID}={uid_of(instance)}")
        return str(found[0]["State"]) if found else "gone"

    def log_of(self, instance: Object) -> str:
        """All that its container has written; nothing when it is gone."""
        with suppress(EngineError, ValueError):
            path = f"/containers/{self.id_of(instance)}/logs"
            return self.engine.get_bytes(path, stdout="1", stderr="1").decode(errors="replace")
        return ""

    def follow(self, instance: Object) -> "Happenings":
        """Count what happens to its container from now on."""
        return Happenings(self.engine, self.id_of(instance))

    # What is waited for.

    def becomes(self, instance: Object, status: str) -> None:
        eventually(lambda: self.status(instance) == status, lambda: (self.status(instance), self.log_of(instance)))

    def nothing_left(self, *uids: str) -> None:
        eventually(lambda: not any(map(self.left_of, uids)), lambda: [self.left_of(uid) for uid in uids])

    # The end.

    def erase(self) -> None:
        super().erase()
        if self.engine.answers():
            for container in self.containers():
                with suppress(EngineError):
                    self.engine.delete(f"/containers/{container['Id']}", force="1", v="1")
            for volume in self.volumes():
                with suppress(EngineError):
                    self.engine.delete(f"/volumes/{volume['Name']}")
        self.engine.close()


class Happenings:
    """The events of one container. An engine keeps few of them, so whoever wants all of them asks often."""

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine, self._container = engine, container
        self._since = 0
        self._seen: set[tuple[int, str]] = set()
        self._seen = self._look()
        self._before = set(self._seen)

    def count(self, action: str) -> int:
        """How often it has happened since this was made."""
        self._seen |= self._look()
        return sum(1 for _, told in self._seen - self._before if told == action)

    def _look(self) -> set[tuple[int, str]]:
        filters = json.dumps({"container": [self._container]})
        # With an end, the engine answers what there was instead of going on.
        now = datetime.fromisoformat(self._engine.get("/info")["SystemTime"]).timestamp()
        told = self._engine.get_bytes("/events", since=str(self._since), until=f"{now:.6f}", filters=filters)
        events = [json.loads(line) for line in told.decode().splitlines()]
        self._since = max((int(event["time"]) for event in events), default=self._since)
        return {(int(event["timeNano"]), str(event["Action"])) for event in events}


def listed(engine: Engine, *labels: str) -> list[Object]:
    """All containers with these labels, running or not."""
    found: list[Object] = engine.get("/containers/json", all="1", filters=json.dumps({"label": labels}))
    return found


def names_of(containers: Sequence[Object]) -> set[str]:
    return {str(container["Names"][0]).removeprefix("/") for container in containers}


def set_up_docker(
    kind: str, folder: Path, genuine: Path | None, docker_host: str, image: str, *arguments: str, **env: str
) -> DockerSystem:
    """Start an operator that uses that engine; the engine itself need not answer yet."""
    system = set_up(kind, folder, genuine, *arguments, DOCKER_HOST=docker_host, **env)
    installation = system.api.installation(system.operator_namespace)
    return DockerSystem(**vars(system), engine=Engine(docker_host), image=image, installation=installation)
