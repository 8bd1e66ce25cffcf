"""Plays OpenClaw for the supervisor: its options, its probe, a convos plugin, and the helpers that it starts.

`STAND_IN` holds words: `stubborn` ignores SIGTERM, `unready` answers 503 on /readyz, `pageful` answers /convos/* with
a page, and `crash` and `stop` end at once, with status 3 and 0.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WORDS = os.environ.get("STAND_IN", "").split()
STATUS = {"ready": True, "conversation": None, "streaming": False}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        match self.path:
            case "/readyz":
                self._answer(503 if "unready" in WORDS else 200, {"ready": "unready" not in WORDS})
            case "/convos/status" if "pageful" in WORDS:
                self._answer(200, "a page", content_type="text/html")
            case "/convos/status":
                self._answer(200, STATUS)
            case "/self":
                self._answer(200, {"arguments": sys.argv[1:], "environment": dict(os.environ), "cwd": str(Path.cwd())})
            case _:
                self._answer(404, {"error": "Not Found"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(200, {"conversationId": "c1", "inviteUrl": "https://dev.convos.org/v2?i=abc", "inviteSlug": "abc"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def _answer(self, status: int, value: object, content_type: str = "application/json") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    for word, status in (("crash", 3), ("stop", 0)):
        if word in WORDS:
            sys.exit(status)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in WORDS else lambda *_: sys.exit(0))
    # OpenClaw's helpers have sessions, and so groups, of their own.
    helper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    subprocess.Popen([sys.executable, "-c", helper], start_new_session=True)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
