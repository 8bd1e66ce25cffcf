"""The audit of the lock files, by pip-audit itself against a stand-in of the service OSV."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.tooling.audit import main

HASH = f"sha256:{'0' * 64}"
CLEAN = f"click==8.1.0 --hash={HASH}\ncolorama==0.4.6 ; sys_platform == 'win32' --hash={HASH}\n"
VULNERABLE = f"jinja2==2.10 --hash={HASH}\n"
ADVISORY = {
    "id": "GHSA-462w-v97r-4m45",
    "aliases": ["CVE-2019-10906"],
    "summary": "Jinja2 sandbox escape via string formatting",
    "published": "2019-04-10T14:30:24Z",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.10.1"}]}],
        }
    ],
}
TODAY = datetime(2026, 11, 27, tzinfo=UTC)


class Advisories:
    """Answers as OSV does, and knows one advisory."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.breaks_off = False
        advisories = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = query["package"]["name"]
                advisories.asked.append(name)
                if advisories.breaks_off and name != "pip":
                    self.send_error(503)
                    return
                vulnerable = (name, query["version"]) == ("jinja2", "2.10")
                content = json.dumps({"vulns": [ADVISORY]} if vulnerable else {}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/query"


@pytest.fixture
def advisories(monkeypatch: pytest.MonkeyPatch) -> Iterator[Advisories]:
    service = Advisories()
    thread = threading.Thread(target=service.server.serve_forever)
    thread.start()
    monkeypatch.setenv("AUDIT_URL", service.url)
    monkeypatch.delenv("REQUIRE_AUDIT", raising=False)
    yield service
    service.server.shutdown()
    thread.join()
    service.server.server_close()


def run(folder: Path, pins: str, exceptions: str = "", *, day: datetime = TODAY) -> int:
    (folder / "requirements.lock").write_text(pins)
    (folder / "exceptions.toml").write_text(exceptions)
    return main(
        [
            str(folder / "requirements.lock"),
            f"--exceptions={folder / 'exceptions.toml'}",
            f"--remember={folder / 'ok'}",
        ],
        day,
    )


def exception(until: str = "2027-01-31", reason: str = "templates come from nobody else") -> str:
    return f'[[exception]]\nid = "CVE-2019-10906"\nreason = "{reason}"\nuntil = {until}\n'


def test_pins_of_which_nothing_is_known_pass_and_are_asked_about_once_a_day(
    advisories: Advisories, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, CLEAN) == 0
    assert "nothing is known against the locked packages" in capsys.readouterr().out
    assert advisories.asked == ["pip", "click"]
    assert run(tmp_path, CLEAN) == 0
    assert advisories.asked == ["pip", "click"]
    assert run(tmp_path, CLEAN, day=datetime(2026, 11, 28, tzinfo=UTC)) == 0
    assert advisories.asked == ["pip", "click"] * 2


def test_a_pin_with_an_advisory_fails_and_is_named_with_its_remedy(
    advisories: Advisories, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, CLEAN + VULNERABLE) == 1
    told = capsys.readouterr().err
    assert "jinja2 2.10: CVE-2019-10906, GHSA-462w-v97r-4m45, fixed in 2.10.1" in told
    assert "make lock" in told
    assert not (tmp_path / "ok").exists()


def test_an_exception_lets_an_advisory_wait_by_any_of_its_names(
    advisories: Advisories, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, VULNERABLE, exception()) == 0
    assert "besides 1 that may wait" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (exception(until="2026-11-26"), "the exception for CVE-2019-10906 ended on 2026-11-26"),
        (exception(reason=" "), "every exception needs an id, a reason and a date"),
        (exception(until='"soon"'), "every exception needs an id, a reason and a date"),
    ],
    ids=["over", "without a reason", "without a date"],
)
def test_an_exception_that_is_over_or_gives_no_reason_fails(
    advisories: Advisories, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, complaint: str
) -> None:
    assert run(tmp_path, VULNERABLE, text) == 1
    assert complaint in capsys.readouterr().err
    assert advisories.asked == []


def test_without_a_service_it_says_so_and_passes_unless_it_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Port 9 of this host answers nobody.
    monkeypatch.setenv("AUDIT_URL", "http://127.0.0.1:9/v1/query")
    monkeypatch.delenv("REQUIRE_AUDIT", raising=False)
    assert run(tmp_path, VULNERABLE) == 0
    told = capsys.readouterr().err
    assert told.startswith("audit: NOT MADE: the advisory service at http://127.0.0.1:9/v1/query cannot be reached")
    assert len(told.splitlines()) == 1
    monkeypatch.setenv("REQUIRE_AUDIT", "1")
    assert run(tmp_path, VULNERABLE) == 1


def test_a_service_that_breaks_off_half_way_is_none(
    advisories: Advisories, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    advisories.breaks_off = True
    assert run(tmp_path, CLEAN) == 0
    assert "audit: NOT MADE" in capsys.readouterr().err
    assert not (tmp_path / "ok").exists()


def test_a_lock_without_hashes_fails_whatever_is_known(
    advisories: Advisories, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "click==8.1.0\n") == 1
    assert "pip-audit could not read" in capsys.readouterr().err
