"""/healthz, /readyz and /metrics, and beside them what the operator is told by others."""

import logging
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from controller.errors import Misconfigured
from controller.http.webhooks import MOST_BYTES, RailwayWebhooks

log = logging.getLogger(__name__)


class Probes:
    """A small HTTP server for kubelets and Prometheus; it tells nothing about claims or agents.

    Who stands by is ready: it could lead, so a roll-out may go on, and says in a sentence that it does not.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        why_not_ready: Callable[[], str | None],
        standing_by: Callable[[], str | None] = lambda: None,
        webhooks: RailwayWebhooks | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._webhooks = webhooks
        self._why_not_ready, self._standing_by = why_not_ready, standing_by
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; ``Misconfigured`` when the port is taken."""
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        if self._webhooks is not None:
            self._webhooks.add_to(app.router)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise Misconfigured(
                f"cannot listen on {self._host}:{self._port} for health and metrics ({error.strerror}): "
                "choose another address with --http-port or AGENTPOOL_HTTP_PORT"
            ) from None
        log.info("health and metrics on http://%s:%s", self._host, self._port)

    async def stop(self) -> None:
        """Close."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reason = self._why_not_ready()
        if reason is not None:
            return web.Response(status=503, text=f"{reason}\n")
        return web.Response(text=f"{self._standing_by() or 'ok'}\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
