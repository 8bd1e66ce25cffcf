"""Who sees everything: each state of each claim and instance, and what each agent logged, also once it is gone."""

import json
import threading
from pathlib import Path
from typing import TextIO

import httpx

from tests.e2e.api import Api, Object
from tests.e2e.system import uid_of
from tests.e2e.waiting import DEADLINE

PLURALS = ("agentclaims", "agentinstances")
_LISTEN_SECONDS = 1.0


class Witness:
    """Follows both kinds from the moment of its making, on a connection of its own and not through a proxy."""

    def __init__(self, api: Api, instances_root: Path) -> None:
        self.history: dict[str, list[tuple[str, Object]]] = {plural: [] for plural in PLURALS}
        """Everything that a watch told, as (type, object)."""
        self.gaps = 0
        """How often the API server had forgotten what happened meanwhile: then a state may be missing."""
        self._api, self._root = api, instances_root
        self._versions = {plural: api.version(plural) for plural in PLURALS}
        self._logs: dict[str, TextIO] = {}
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._follow, args=(plural,), daemon=True) for plural in PLURALS]
        for thread in self._threads:
            thread.start()

    def of(self, plural: str) -> dict[str, list[tuple[str, Object]]]:
        """What happened to each object, by uid."""
        found: dict[str, list[tuple[str, Object]]] = {}
        for kind, obj in tuple(self.history[plural]):
            found.setdefault(uid_of(obj), []).append((kind, obj))
        return found

    def log_of(self, uid: str) -> str:
        """All that the agent of an instance has logged; empty if it never began to."""
        if (file := self._logs.get(uid)) is None:
            return ""
        file.seek(0)
        return file.read()

    def finish(self) -> None:
        """See what happened until now, and look no more."""
        self._ended.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        for plural in PLURALS:
            for kind, obj in self._api.history(plural, self._versions[plural]):
                self._saw(plural, kind, obj)

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        for file in self._logs.values():
            file.close()

    def _follow(self, plural: str) -> None:
        headers = {"Authorization": f"Bearer {self._api.token}"}
        with httpx.Client(verify=self._api.tls, headers=headers, trust_env=False, timeout=_LISTEN_SECONDS) as http:
            while not self._ended.is_set():
                try:
                    self._listen(http, plural)
                except httpx.TransportError:
                    self._ended.wait(0.05)

    def _listen(self, http: httpx.Client, plural: str) -> None:
        url = self._api.url + self._api.path(plural)
        params = {"watch": "true", "resourceVersion": self._versions[plural]}
        with http.stream("GET", url, params=params) as answer:
            if answer.status_code == 410:
                self._look(http, url, plural)
            elif answer.status_code != 200:
                self._ended.wait(0.05)
                return
            for line in answer.iter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    self._look(http, url, plural)
                    return
                self._saw(plural, event["type"], event["object"])
                if self._ended.is_set():
                    return

    def _look(self, http: httpx.Client, url: str, plural: str) -> None:
        answer = http.get(url)
        if answer.status_code != 200:
            return
        self.gaps += 1
        found = answer.json()
        there = {uid_of(item) for item in found["items"]}
        last = {uid: events[-1] for uid, events in self.of(plural).items()}
        for item in found["items"]:
            self._saw(plural, "MODIFIED", item)
        for uid, (kind, obj) in last.items():
            if kind != "DELETED" and uid not in there:
                self._saw(plural, "DELETED", obj)
        self._versions[plural] = found["metadata"]["resourceVersion"]

    def _saw(self, plural: str, kind: str, obj: Object) -> None:
        self._versions[plural] = obj["metadata"]["resourceVersion"]
        self.history[plural].append((kind, obj))
        uid = uid_of(obj)
        if plural == "agentinstances" and uid not in self._logs:
            try:
                # Kept open, it can be read when the home is gone.
                self._logs[uid] = (self._root / uid / "log").open(encoding="utf-8", errors="replace")
            except OSError:
                return
