"""Secrets that occur nowhere else, and the search for them."""

import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from tests.e2e.api import KINDS, Object
from tests.e2e.system import System


class Canaries:
    """Values by what they are; found by their cores, so that a part of one is found, too."""

    def __init__(self) -> None:
        self._cores: dict[str, str] = {}

    def new(self, name: str) -> str:
        """A secret of that name: fit for a URL, a header and a shell."""
        core = self._cores[name] = secrets.token_hex(10)
        return f"{name}-{core}-canary"

    def add(self, name: str, value: str) -> None:
        """One that somebody else made."""
        self._cores[name] = value

    def found(self, places: Mapping[str, str]) -> list[str]:
        """Which of them is in which place."""
        return [
            f"{name} in {place}: {_around(text, core)}"
            for place, text in places.items()
            for name, core in self._cores.items()
            if core in text
        ]


def _around(text: str, core: str) -> str:
    at = text.index(core)
    return text[max(0, at - 300) : at + len(core) + 30]


def resources(system: System, namespaces: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every object but Secrets; without the spec, where a person wrote it."""
    for namespace in namespaces:
        paths = [*KINDS, "events", "configmaps"]
        urls = [system.api.path(plural).replace(system.api.namespace, namespace) for plural in paths]
        urls.append(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
        for url in urls:
            answer = system.api.http.get(url)
            assert answer.status_code == 200, answer.text
            for item in answer.json()["items"]:
                yield f"{url}/{item['metadata']['name']}", json.dumps(_written_by_the_operator(item))


def _written_by_the_operator(thing: Object) -> Object:
    """All but the spec: a person wrote it, or the operator copied it from there as it was."""
    return {name: part for name, part in thing.items() if name != "spec" or "holderIdentity" in part}


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """What the operator keeps on its disk. An agent's own directory and log are its own, and so is the last line of
    that log in its record: nobody but the operator's user may read them.
    """
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        agents_own = inside[:1] == ("instances",) and len(inside) > 2 and inside[2] in {"state", "log"}
        if not path.is_file() or agents_own:
            continue
        text = path.read_bytes().decode(errors="replace")
        if path.name == "record.json":
            text = json.dumps({**json.loads(text), "exit": None})
        yield str(path.relative_to(folder)), text


def tables(url: str) -> Iterator[tuple[str, str]]:
    """Every row of the ledger, as text."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'agentpool'"
        ).fetchall()
        assert names
        for (name,) in names:
            rows = connection.execute(sql.SQL("SELECT t::text FROM agentpool.{} t").format(sql.Identifier(name)))
            yield f"table {name}", str(rows.fetchall())


def command_lines() -> Iterator[tuple[str, str]]:
    """What ``ps`` shows to everybody on this host."""
    for process in psutil.process_iter():
        try:
            yield f"the command line of {process.pid}", " ".join(process.cmdline())
        except psutil.Error:
            continue
