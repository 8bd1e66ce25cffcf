"""The connection to the engine: every call has a timeout, and what went wrong on the way is a sentence."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
from aiodocker import Docker, DockerError

from controller.backends.docker.address import Address
from controller.backends.docker.answers import common_version, message_in, value_in
from controller.backends.docker.errors import Silent, Unreachable, why_unreachable
from controller.errors import Refused

CALL_SECONDS = 30.0
"""How long a call may take that has nothing to wait for."""
PARALLEL_CALLS = 24
"""How many are made at once; an engine works them off one after the other anyway."""
OLDEST, NEWEST = (1, 40), (1, 47)
"""Versions of the engine's API between which one is agreed upon."""

Answer = TypeVar("Answer")


class Engine:
    """One engine.

    Its answers are results or ``DockerError`` (``errors.sort`` makes the errors of a port of them). ``Unreachable`` is
    a call without an answer: it may or may not have been carried out.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._docker: Docker | None = None
        self._turn = asyncio.Semaphore(PARALLEL_CALLS)
        self._agreeing = asyncio.Lock()

    async def call(self, work: Callable[[Docker], Awaitable[Answer]], *, seconds: float = CALL_SECONDS) -> Answer:
        """Make one call: ``await engine.call(lambda docker: docker.containers.container(id).start())``."""
        async with self._turn:
            try:
                async with asyncio.timeout(seconds):
                    docker = await self._agreed()
                    return await work(docker)
            except DockerError as error:
                raise self._judge(error) from error.__context__
            except TimeoutError:
                raise Unreachable(f"{self._name} did not answer within {seconds:g} s") from None
            except (aiohttp.ClientError, OSError) as error:
                raise Unreachable(why_unreachable(self.address, error)) from error
            except (ValueError, KeyError, TypeError) as error:
                raise Unreachable(f"{self._name} gave an answer that is none of a Docker engine: {error!r}") from error

    async def get(self, path: str, **params: str) -> Any:
        """Read something: the decoded JSON of ``GET /<version>/<path>``."""
        return await self.call(lambda docker: self._request(docker, "GET", path, params))

    async def delete(self, path: str, **params: str) -> None:
        """Remove something: ``DELETE /<version>/<path>``."""
        await self.call(lambda docker: self._request(docker, "DELETE", path, params))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that goes on for long, to be read in the body of the ``with``.

        ``silence`` is how many seconds nothing may come, ``Silent`` after that; the connection is closed at the end.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CALL_SECONDS, sock_read=silence)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                docker = await self._agreed()
            url = f"{self.address.base_url}/{docker.api_version}/{path}"
            response = await docker.session.request(method, url, params=params, headers=headers, timeout=limits)
            try:
                if response.status >= 400:
                    raise await _refusal(response)
                yield response
            finally:
                # An endless answer can only be cut off.
                response.close()
        except DockerError as error:
            raise self._judge(error) from error.__context__
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable(why_unreachable(self.address, error)) from error
        except TimeoutError:
            raise Silent(f"{self._name} has been silent for too long") from None
        except (aiohttp.ClientError, OSError, EOFError) as error:
            raise Unreachable(why_unreachable(self.address, error)) from error

    async def close(self) -> None:
        """Close every connection."""
        if self._docker is not None:
            await self._docker.close()
            await self._docker.session.close()
            self._docker = None

    @property
    def _name(self) -> str:
        return f"the Docker engine at {self.address.text}"

    async def _request(self, docker: Docker, method: str, path: str, params: Mapping[str, str]) -> Any:
        url = f"{self.address.base_url}/{docker.api_version}/{path}"
        async with docker.session.request(method, url, params=params) as response:
            if response.status >= 400:
                raise await _refusal(response)
            content = await response.read()
            return value_in(content, f"an answer to {method} {path}") if content else None

    async def _agreed(self) -> Docker:
        """The client, with a version of the API that both sides speak."""
        async with self._agreeing:
            docker = self._docker
            if docker is None:
                # A session of our own: the one that Docker makes reads the environment of the process.
                session = aiohttp.ClientSession(connector=_connector(self.address))
                docker = self._docker = Docker(
                    self.address.base_url, connector=session.connector, session=session, api_version="auto"
                )
            if docker.api_version == "auto":
                docker.api_version = await self._agree(docker.session)
            return docker

    async def _agree(self, session: aiohttp.ClientSession) -> str:
        async with session.get(f"{self.address.base_url}/version") as response:
            if response.status >= 400:
                raise await _refusal(response)
            found = value_in(await response.read(), "its version")
        version = common_version(found, OLDEST, NEWEST)
        if version is None:
            raise Refused(
                "EngineTooOld",
                f"{self._name} is of version {found.get('Version')}, which is too old: it must be 19.03 or newer",
            )
        return "v{}.{}".format(*version)

    def _judge(self, error: DockerError) -> Exception:
        """An answer is passed on; what is none in truth becomes ``Unreachable``."""
        if error.status == 900:
            # aiodocker's own: there was no connection, or it was cut.
            return Unreachable(why_unreachable(self.address, error.__context__ or error))
        if error.status == 400 and "HTTP request to an HTTPS server" in error.message:
            return Unreachable(f"{self._name} speaks TLS only: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH")
        if error.status == 400 and "client version" in error.message and self._docker is not None:
            # Another engine than before answers at the same address.
            self._docker.api_version = "auto"
            return Unreachable(f"{self._name} was exchanged for another version")
        # With a type of content that aiodocker does not know, it has left the JSON as it was.
        return DockerError(error.status, message_in(error.message))


async def _refusal(response: aiohttp.ClientResponse) -> DockerError:
    return DockerError(response.status, message_in((await response.read()).decode(errors="replace")))


def _connector(address: Address) -> aiohttp.BaseConnector:
    # Streams hold a connection each for as long as they like, so their number is not limited here.
    if address.socket is not None:
        return aiohttp.UnixConnector(address.socket, limit=0)
    return aiohttp.TCPConnector(limit=0, ssl=address.tls or False, socket_factory=_watched_socket)


def _watched_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices within a minute that the other side is gone without a word."""
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 6)):
        number: Any = getattr(socket, option, None)
        if number is not None:
            made.setsockopt(socket.IPPROTO_TCP, number, value)
    return made
