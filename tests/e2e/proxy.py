"""A TCP relay in front of an API server, which a test can break: the server itself need not go away."""

import contextlib
import select
import socket
import threading
from pathlib import Path

import yaml

from tests.e2e.commands import free_port


class Relay:
    """Passes connections on to a port of this host while it is open; else nobody listens there."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self._target = int(cluster["server"].rsplit(":", 1)[1])
        self.port = free_port()
        cluster["server"] = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = folder / "through-the-relay"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()

    def open(self) -> None:
        """Listen, and pass on what comes."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Break every connection and listen no more."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener = None
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    near = listener.accept()[0]
                except OSError:
                    return
                threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            self._connections.add(near)
            try:
                while True:
                    for source in select.select([near, far], [], [])[0]:
                        data = source.recv(65536)
                        if not data:
                            return
                        (far if source is near else near).sendall(data)
            except OSError:
                return
            finally:
                self._connections.discard(near)
