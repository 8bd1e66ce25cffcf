"""Containers as the engine lists them, and what they are in the words of the port."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from controller.backends.docker.address import Address, is_loopback
from controller.backends.docker.answers import read_as
from controller.backends.docker.names import NAMESPACE, UID, creation_name
from controller.ports import Remote, RemoteState

_STATES = {
    "running": RemoteState.RUNNING,
    "restarting": RemoteState.RUNNING,
    "paused": RemoteState.PAUSED,
}
_EXIT_CODE = re.compile(r"Exited \((\d+)\)")


@dataclass(frozen=True, slots=True)
class Container:
    """One line of the engine's list."""

    id: str
    uid: str
    name: str
    state: str
    """created, running, paused, restarting, exited, removing or dead."""
    created: int
    """Seconds since the epoch, by the clock of the engine."""
    published: tuple[str, int] | None = None
    """Address and port on the engine's host."""
    exit_code: int | None = None
    namespace: str = ""

    @property
    def short_id(self) -> str:
        """How people write its id."""
        return self.id[:12]

    @property
    def ran(self) -> bool:
        """Whether it was ever started: then it is never started again."""
        return self.state != "created"

    @property
    def remote_state(self) -> RemoteState:
        """Its state in the words of the port."""
        return _STATES.get(self.state, RemoteState.EXITED)

    def remote(self, address: Address, message: str = "") -> Remote:
        """What the port says of it."""
        return Remote(
            uid=self.uid,
            backend_id=self.short_id,
            state=self.remote_state,
            url=url_of(self.published, address) if self.published is not None else None,
            message=message,
            anonymous=self.name == creation_name(self.uid),
            namespace=self.namespace,
        )


def read_container(listed: Any) -> Container:
    """One element of ``GET /containers/json``. ``Unreachable`` when it is none."""
    with read_as("a container"):
        return _container(listed)


def _container(listed: Any) -> Container:
    # Further names, of links, have a second slash.
    names = [name[1:] for name in listed.get("Names") or () if name.count("/") == 1]
    ports = [port for port in listed.get("Ports") or () if port.get("PublicPort")]
    code = _EXIT_CODE.match(listed.get("Status") or "")
    container, uid, state = listed["Id"], listed["Labels"][UID], listed["State"]
    if not all(isinstance(text, str) for text in (container, uid, state)):
        raise TypeError
    return Container(
        id=container,
        uid=uid,
        name=names[0] if names else "",
        state=state,
        created=int(listed["Created"]),
        published=_published(ports[0]) if ports else None,
        exit_code=int(code.group(1)) if code is not None else None,
        namespace=str(listed["Labels"].get(NAMESPACE) or ""),
    )


def _published(port: Any) -> tuple[str, int]:
    return str(ipaddress.ip_address(port.get("IP") or "0.0.0.0")), int(port["PublicPort"])  # noqa: S104


def url_of(published: tuple[str, int], address: Address) -> str | None:
    """Where a published port is reached from here; ``None`` when it is not."""
    ip, port = published
    if ipaddress.ip_address(ip).is_unspecified:
        host = "127.0.0.1" if address.local else address.host
    elif is_loopback(ip) and not address.local:
        return None
    else:
        host = ip
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
