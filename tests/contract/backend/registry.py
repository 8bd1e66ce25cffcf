"""A registry of images on loopback, as far as pulling one small image goes, that can be made to fail."""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from aiohttp import web

Trouble = Literal["", "gone", "broken", "nonsense", "corrupt", "denied"]
_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Serves one image under any name, to whoever has the password if there is one."""

    def __init__(self, password: str | None) -> None:
        self.trouble: Trouble = ""
        self.port = 0
        self.manifests = 0
        """How often somebody wanted to know what the image is made of."""
        self.gate = asyncio.Event()
        """While it is cleared, nobody gets a manifest."""
        self.gate.set()
        self.waiting = False
        self._password = password
        layer = _layer()
        zipped = gzip.compress(layer, mtime=0)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/no-such-program"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        ).encode()
        self._blobs = {_digest(zipped): zipped, _digest(config): config}
        self._layer = _digest(zipped)
        self._manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _TYPE,
                "config": _descriptor("application/vnd.docker.container.image.v1+json", config),
                "layers": [_descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", zipped)],
            }
        ).encode()

    def image(self, name: str) -> str:
        """The full name of an image of this registry."""
        return f"127.0.0.1:{self.port}/{name}"

    async def handle(self, request: web.Request) -> web.Response:
        if self._password is not None and not self._knows(request):
            challenge = {"WWW-Authenticate": 'Basic realm="registry"'}
            return _error(401, "UNAUTHORIZED", "authentication required", challenge)
        path = request.path
        if path == "/v2/":
            return web.json_response({})
        if self.trouble == "broken":
            return web.Response(status=500, text="the registry fell over")
        if self.trouble == "denied":
            return _error(403, "DENIED", "requested access to the resource is denied")
        if "/manifests/" in path:
            self.manifests += 1
            self.waiting = True
            await self.gate.wait()
            if self.trouble == "gone":
                return _error(404, "MANIFEST_UNKNOWN", "manifest unknown")
            content = b"<html>" if self.trouble == "nonsense" else self._manifest
            return web.Response(body=content, content_type=_TYPE, headers={"Docker-Content-Digest": _digest(content)})
        digest = path.rpartition("/")[2]
        content = self._blobs[digest]
        if self.trouble == "corrupt" and digest == self._layer:
            content = content[:-1] + b"\xff"
        return web.Response(body=content, content_type="application/octet-stream")

    def _knows(self, request: web.Request) -> bool:
        expected = "Basic " + base64.b64encode(f"ada:{self._password}".encode()).decode()
        return request.headers.get("Authorization") == expected


@asynccontextmanager
async def registry(password: str | None = None) -> AsyncIterator[Registry]:
    """A registry that serves."""
    made = Registry(password)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


def _layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("hello")
        # Another one each time: the engine fetches no layer that it has.
        content = os.urandom(16)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status, headers=headers)
