"""An agent for tests, in one file: answers HTTP with its environment, and behaves as ``BEHAVIOUR`` says.

``serve`` (the default) ends on SIGTERM with status 0, ``stubborn`` ignores it, ``fail`` prints why and ends with 3,
``silent`` never listens, ``greedy`` takes 80 MiB, ``orphaner`` leaves the child of a dead child to the first process.
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Answer(BaseHTTPRequestHandler):
    """Tells the environment, to see what got in."""

    def do_GET(self) -> None:
        content = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: the last line of the log is for the behaviours."""


def behave(behaviour: str) -> None:
    match behaviour:
        case "fail":
            sys.stdout.write("\x1b[31mthe key\x07 was refused\x1b[0m\n")
            sys.stdout.flush()
            sys.exit(3)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "silent":
            time.sleep(3600)
        case "greedy":
            globals()["block"] = bytearray(80 << 20)
        case "orphaner":
            code = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', 'pass'])"
            subprocess.run([sys.executable, "-S", "-c", code], check=True)


def main() -> None:
    # The first process of a container has no default action for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    behave(os.environ.get("BEHAVIOUR", "serve"))
    # In a container, the host asks from outside.
    server = HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Answer)
    Path(os.environ["OPENCLAW_STATE_DIR"], "ready").touch()
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
