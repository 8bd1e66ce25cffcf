"""The twin in a process of its own, and what tests ask of it there."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.railway.access import TokenKind
from tests.railway.control import PREFIX
from tests.railway.faults import Fault

PATIENCE = 60.0
"""Seconds within which anything happens, however busy the machine is."""
ROOT = Path(__file__).parents[2]
Json = dict[str, Any]


class RemoteControl:
    """Client of the control API; what each call does is told where that is served."""

    def __init__(self, url: str) -> None:
        # Without TLS there is nothing to verify, and reading all authorities takes longer than all that is asked.
        self._http = httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, verify=False)

    def close(self) -> None:
        self._http.close()

    def state(self) -> Json:
        """All there is, incomplete boots and counts included."""
        return self._ask("GET", "state")

    def counts(self) -> Json:
        return self._ask("GET", "counts")

    def faults(self) -> Json:
        return self._ask("GET", "faults")

    def boots(self) -> list[Json]:
        boots: list[Json] = self._ask("GET", "boots")["boots"]
        return boots

    def set_faults(self, rates: Mapping[Fault | str, float], only: Iterable[str] = (), *, clear: bool = False) -> None:
        """New rates for some faults; with ``clear`` none of the others strikes any more."""
        self._ask("POST", "faults", rates=dict(rates), only=list(only), clear=clear)

    def once(self, fault: Fault | str, only: Iterable[str] = (), times: int = 1) -> None:
        self._ask("POST", "once", fault=fault, only=list(only), times=times)

    def change_settings(self, **values: Any) -> None:
        self._ask("POST", "settings", **values)

    def kill(self, service_id: str, number: int = signal.SIGKILL, *, out_of_memory: bool = False) -> bool:
        """Signal the program of a service; whether one runs."""
        answer = self._ask("POST", f"kill/{service_id}", signal_number=int(number), out_of_memory=out_of_memory)
        return bool(answer["killed"])

    def force(self, service_id: str, status: str | None) -> None:
        self._ask("POST", f"status/{service_id}", status=status)

    def hold(self, status: str, times: int = 1) -> None:
        self._ask("POST", "hold", status=status, times=times)

    def release(self, service_id: str) -> None:
        self._ask("POST", f"release/{service_id}")

    def issue(self, kind: TokenKind, environment_id: str | None = None, *, read_only: bool = False) -> str:
        token: str = self._ask("POST", "token", kind=kind, environment_id=environment_id, read_only=read_only)["token"]
        return token

    def revoke(self, token: str) -> None:
        self._ask("POST", "revoke", token=token)

    def _ask(self, method: str, path: str, **arguments: Any) -> Json:
        answer = self._http.request(method, f"{PREFIX}{path}", json=arguments or None)
        found: Json = answer.json()
        if answer.is_error:
            raise ValueError(f"the twin does not {method} {path}: {found['error']}")
        return found


class TwinProcess:
    """A twin that runs while it is entered; it can be killed and lives in no one's event loop."""

    def __init__(
        self,
        seed: int = 0,
        *,
        plan: str = "Pro",
        port: int = 0,
        state_dir: Path | None = None,
        settings: Mapping[str, Any] | None = None,
        faults: Mapping[str, float] | None = None,
    ) -> None:
        self._arguments = [f"--seed={seed}", f"--plan={plan}", f"--port={port}"]
        self._arguments += [f"--settings={json.dumps(dict(settings or {}))}"]
        self._arguments += [f"--faults={json.dumps(dict(faults or {}))}"]
        self._arguments += [] if state_dir is None else [f"--state-dir={state_dir}"]
        self.told: Json = {}
        """What it said of itself: url, edge_url, token, project_tokens, project_id, environments."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.railway", *self._arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.stdout.close()
            raise ChildProcessError(f"the twin ended with {self.process.wait()} before it said anything")
        self.told = json.loads(line)
        self.control = RemoteControl(self.told["control_url"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.control.close()
        self.process.terminate()
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
