"""What containers write: standard output and error, taken out of the frames in which the engine sends them."""

from collections.abc import AsyncIterator

import aiohttp

from controller.backends.docker.engine import CALL_SECONDS, Engine
from controller.backends.last_line import last_line_of

_TAIL_LINES = 20
_TAIL_BYTES = 65536
_HEADER = 8


async def read_output(engine: Engine, container: str, *, tail: int | None, follow: bool) -> AsyncIterator[bytes]:
    """Both streams in the order in which the engine has them, until the container ends when followed."""
    params = {"stdout": "1", "stderr": "1", "tail": "all" if tail is None else str(max(tail, 0))}
    if follow:
        params["follow"] = "1"
    silence = None if follow else CALL_SECONDS
    async with engine.stream("GET", f"containers/{container}/logs", params=params, silence=silence) as response:
        async for chunk in unframed(response.content):
            yield chunk


async def last_line(engine: Engine, container: str) -> str:
    """The last line of its output with anything in it, for a status message."""
    tail = b""
    async for chunk in read_output(engine, container, tail=_TAIL_LINES, follow=False):
        tail = (tail + chunk)[-_TAIL_BYTES:]
    return last_line_of(tail)


async def unframed(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The payload of frames: a byte for the stream, three of nothing, four for the length, then so many bytes."""
    buffer, missing = b"", 0
    async for chunk in content.iter_any():
        buffer += chunk
        while buffer:
            if missing == 0:
                if len(buffer) < _HEADER:
                    break
                missing, buffer = int.from_bytes(buffer[4:_HEADER], "big"), buffer[_HEADER:]
                continue
            payload, buffer = buffer[:missing], buffer[missing:]
            missing -= len(payload)
            yield payload
