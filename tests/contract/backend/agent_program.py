"""An agent for tests, in one file: answers HTTP with its environment, and behaves as ``BEHAVIOUR`` says.

Runs as ``python agent_program.py`` with nothing but the standard library.
"""

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Answer(BaseHTTPRequestHandler):
    """Tells the environment, to see what got in."""

    def do_GET(self) -> None:
        content = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: the last line of the log is for the behaviours."""


def beget(
    *, env: dict[str, str] | None = None, hidden: bool = False, code: str = "import time; time.sleep(600)"
) -> None:
    """Start a child that does nothing, in a session of its own when hidden."""
    subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=hidden, env=env)


def behave(behaviour: str) -> None:
    match behaviour:
        case "fail":
            sys.stdout.write("\x1b[31mthe key\x07 was refused\x1b[0m\n")
            sys.stdout.flush()
            sys.exit(3)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "parent":
            # One in the group, one that left it, one that left it and ignores SIGTERM, one without any environment.
            beget()
            beget(hidden=True)
            ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
            beget(hidden=True, code=ignore)
            beget(hidden=True, env={})
        case "orphaner":
            # Its child lives on in another session when it ends.
            beget(hidden=True)
        case "greedy":
            child = "import time; block = bytearray(80 << 20); time.sleep(600)"
            beget(code=child)
            beget(code=child)
        case "ungrateful":
            # Takes the right to its own files away.
            locked = Path("locked")
            locked.mkdir()
            (locked / "file").touch()
            locked.chmod(0)


def main() -> None:
    behave(os.environ.get("BEHAVIOUR", "serve"))
    server = HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer)
    Path(os.environ["OPENCLAW_STATE_DIR"], "ready").touch()
    server.serve_forever()


if __name__ == "__main__":
    main()
