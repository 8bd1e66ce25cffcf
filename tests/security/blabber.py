"""A hostile program in the place of an agent: it tells whoever asks what it was launched with, or was sent.

BLABBER says how: ``crash`` ends at once and says so, ``sick`` is well at first and then never again, ``refuse``
refuses every order with its key, ``echo`` with what was sent.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ["BLABBER"]
COMPLAINT = f"the model does not take the key {os.environ['MODEL_KEY']}"


class _Handler(BaseHTTPRequestHandler):
    # Not only once: on a busy machine the first answer may come too late for who asked, and it would never be ready.
    well = 3

    def do_GET(self) -> None:
        if MODE == "sick":
            _Handler.well -= 1
        if _Handler.well < 0:
            self._send(503, {"error": COMPLAINT})
        else:
            self._send(200, {"ready": True, "clean": True})

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        told = f"{dict(self.headers)} {sent}" if MODE == "echo" else COMPLAINT
        self._send(400, {"error": told})

    def _send(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Its own log is its own."""


if __name__ == "__main__":
    if MODE == "crash":
        sys.exit(COMPLAINT)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), _Handler).serve_forever()
