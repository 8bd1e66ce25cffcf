"""A Docker engine's HTTP API, as far as making engines and images needs it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from typing import IO, Any

import httpx

Answer = Mapping[str, Any]
_IDLE_SECONDS = 300.0
_BUILD_SECONDS = 900.0  # a step that installs may say nothing until it is done


class EngineError(Exception):
    """An engine that cannot be had, or that refused something; the text says why."""


class LackingError(EngineError):
    """Something that this machine does not have."""


class Engine:
    """The engine at a DOCKER_HOST: a unix:// socket, or tcp:// without TLS."""

    def __init__(self, host: str) -> None:
        scheme, _, place = host.partition("://")
        match scheme:
            case "unix":
                transport, base = httpx.HTTPTransport(uds=place), "http://engine"
            case "tcp" | "http":
                transport, base = httpx.HTTPTransport(), f"http://{place}"
            case _:
                raise EngineError(f"DOCKER_HOST={host!r} cannot be used here: give a unix:// or tcp:// address")
        self.host = host
        self._socket = place if scheme == "unix" else None
        self._client = httpx.Client(transport=transport, base_url=base, timeout=_IDLE_SECONDS)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def answers(self) -> bool:
        """Whether an engine answers there at once."""
        if self._socket is not None:
            # A refused connection of httpx leaves its socket open.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(5.0)
                if probe.connect_ex(self._socket):
                    return False
        try:
            return self._client.get("/_ping", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def get(self, path: str, **query: str) -> Any:
        """What the API tells; EngineError with its message when it refuses."""
        return _read(self._client.get(path, params=query))

    def post(self, path: str, body: Any = None, **query: str) -> Any:
        """What the API answers to an order."""
        return _read(self._client.post(path, params=query, json=body))

    def get_bytes(self, path: str, **query: str) -> bytes:
        """What the API tells that is no JSON."""
        return self._client.get(path, params=query).content

    def post_for_bytes(self, path: str, body: Any) -> bytes:
        """What an order gives that is no JSON."""
        return self._client.post(path, json=body).content

    def delete(self, path: str, **query: str) -> None:
        """Have something deleted."""
        _read(self._client.delete(path, params=query))

    def has_image(self, tag: str) -> bool:
        """Whether there is an image of that name."""
        return self._client.get(f"/images/{tag}/json").status_code == 200

    def import_image(self, root: IO[bytes], tag: str, changes: list[str]) -> None:
        """Make an image of one layer from a tar of its root, and Dockerfile lines that configure it."""
        name, _, version = tag.rpartition(":")
        query: dict[str, Any] = {"fromSrc": "-", "repo": name, "tag": version, "changes": changes}
        for _ in self._stream("/images/create", root, query):
            pass

    def build(
        self,
        context: IO[bytes],
        tag: str,
        *,
        target: str = "",
        arguments: Mapping[str, str] | None = None,
        network: str = "",
    ) -> list[str]:
        """Build an image from a tar with a Dockerfile; the lines that the build printed."""
        query = {"t": tag, "buildargs": json.dumps(dict(arguments or {})), "rm": "1", "forcerm": "1"}
        if target:
            query["target"] = target
        if network:
            query["networkmode"] = network
        return [str(told["stream"]) for told in self._stream("/build", context, query) if "stream" in told]

    def _stream(self, path: str, content: IO[bytes], query: Mapping[str, Any]) -> Iterator[Answer]:
        headers = {"Content-Type": "application/x-tar"}
        told: list[str] = []
        with self._client.stream(
            "POST", path, params=query, content=content, headers=headers, timeout=_BUILD_SECONDS
        ) as response:
            if response.status_code >= 400:
                response.read()
                _read(response)
            for line in response.iter_lines():
                if not line.strip():
                    continue
                answer = json.loads(line)
                if "error" in answer:
                    # The last lines before an error are what the failing step printed.
                    raise EngineError("".join([*told[-30:], str(answer["error"])]))
                told.append(str(answer.get("stream", "")))
                yield answer


def _read(response: httpx.Response) -> Any:
    if response.status_code >= 400:
        try:
            message = response.json()["message"]
        except (ValueError, KeyError, TypeError):
            message = response.text[:200]
        raise EngineError(f"{response.request.method} {response.request.url.path}: {response.status_code} {message}")
    return response.json() if response.headers.get("Content-Type", "").startswith("application/json") else response.text
