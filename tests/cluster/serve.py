"""Runs a standalone server until it is told to stop: `python serve.py DATA_DIR [CRD.yaml ...]`."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import yaml

from controller.standalone import StandaloneError, StandaloneServer


async def main(definitions: list[dict[str, Any]]) -> None:
    async with StandaloneServer(Path(sys.argv[1]), crds=definitions) as server:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await stop.wait()


try:
    asyncio.run(main([yaml.safe_load(Path(name).read_text()) for name in sys.argv[2:]]))
except StandaloneError as error:
    sys.exit(str(error))
