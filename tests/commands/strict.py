"""An API server that lets nobody see more than it was told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

OBJECTS = "/apis/agentpool.dev/v1alpha1/namespaces/team"
INSTANCE = f"{OBJECTS}/agentinstances/x"


@contextmanager
def strict_server(tmp_path: Path, allowed: dict[str, object]) -> Iterator[str]:
    """An API server with a rule for each path: it answers those that it has, and forbids everything else."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            denied = {"kind": "Status", "reason": "Forbidden", "message": 'User "eve" cannot get that', "code": 403}
            body = json.dumps(allowed.get(path, denied)).encode()
            self.send_response(200 if path in allowed else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": "team"}}],
    }
    (tmp_path / "strict").write_text(yaml.safe_dump(config))
    yield str(tmp_path / "strict")
    server.shutdown()
    server.server_close()


def instance_body(backend: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentInstance",
        "metadata": {"name": "x", "namespace": "team", "uid": "u-x", "resourceVersion": "1"},
        "spec": {"pool": "p", "templateHash": "0", "backend": backend},
        "status": {"phase": "Idle"},
    }
