"""The API server as a plain client sees it."""

import json
import ssl
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from controller.errors import AgentpoolError, Missing
from controller.model import API_VERSION

_SECONDS = 15.0
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

Object = dict[str, Any]


class Api:
    """The kinds of agentpool in the namespace ``default``; every failure is an ``AgentpoolError`` of one sentence."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.url: str = cluster["server"]
        authority = b64decode(cluster["certificate-authority-data"]).decode()
        self._http = httpx.Client(
            base_url=f"{self.url}/apis/{API_VERSION}/namespaces/default/",
            headers={"Authorization": f"Bearer {user['token']}"},
            verify=ssl.create_default_context(cadata=authority),
            timeout=_SECONDS,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, plural: str, name: str) -> Object:
        """One object; ``Missing`` when there is none."""
        return self._answer("GET", f"{plural}/{name}")

    def all(self, plural: str) -> list[Object]:
        """All objects."""
        items: list[Object] = self._answer("GET", plural)["items"]
        return items

    def create_secret(self, name: str, content: Mapping[str, str]) -> None:
        """A Secret of that content."""
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(content)}
        self._answer("POST", f"{self.url}/api/v1/namespaces/default/secrets", json=manifest)

    def names(self, plural: str) -> list[str]:
        """The names of all objects."""
        return [item["metadata"]["name"] for item in self.all(plural)]

    def create(self, plural: str, manifest: Mapping[str, Any]) -> None:
        """Send a manifest."""
        self._answer("POST", plural, json=manifest)

    def delete(self, plural: str, name: str) -> None:
        """Ask for the deletion; what it takes may go on afterwards."""
        self._answer("DELETE", f"{plural}/{name}")

    def table(self, plural: str, *, wide: bool) -> list[list[str]]:
        """The rows that ``kubectl get`` would show, the headings first: the API server makes them."""
        table = self._answer("GET", plural, headers={"Accept": _TABLE})
        columns = table["columnDefinitions"]
        shown = [number for number, column in enumerate(columns) if wide or not column.get("priority")]
        rows = [[column["name"].upper() for column in columns], *(row["cells"] for row in table["rows"])]
        return [["" if row[number] is None else str(row[number]) for number in shown] for row in rows]

    @contextmanager
    def watched(self, plural: str, name: str) -> Iterator[Iterator[Object]]:
        """Every state of one object from now on; the watch is open when the block begins."""
        version = self._answer("GET", plural)["metadata"]["resourceVersion"]
        question = {"watch": "true", "resourceVersion": version, "fieldSelector": f"metadata.name={name}"}
        with _told(), self._http.stream("GET", plural, params=question) as answer:
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
            yield _states(answer)

    def _answer(self, verb: str, path: str, **more: Any) -> Object:
        with _told():
            answer = self._http.request(verb, path, **more)
        if not answer.is_success:
            raise _refusal(answer)
        body: Object = answer.json()
        return body


def _states(answer: httpx.Response) -> Iterator[Object]:
    for line in answer.iter_lines():
        event = json.loads(line)
        if event["type"] == "ERROR":
            raise AgentpoolError(f"the API server ended the watch: {event['object'].get('message')}")
        if event["type"] != "BOOKMARK":
            yield event["object"]


def _refusal(answer: httpx.Response) -> AgentpoolError:
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = f"{answer.request.method} {answer.request.url.path} was answered with {answer.status_code}"
    return Missing(message) if answer.status_code == httpx.codes.NOT_FOUND else AgentpoolError(message)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise AgentpoolError(f"the API server does not answer: {error or type(error).__name__}") from None
