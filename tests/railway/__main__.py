"""Runs the twin until SIGTERM: ``python -m tests.railway --port P --seed N --state-dir DIR [--plan Pro]``.

Its first line of output is JSON: where it is, and with which ids and tokens.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from tests.railway.settings import PLANS, Settings
from tests.railway.twin import Twin


async def _serve(options: argparse.Namespace) -> None:
    settings = Settings(plan=options.plan)
    settings.change(json.loads(options.settings))
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    async with Twin(options.seed, settings=settings, state_dir=options.state_dir, port=options.port) as twin:
        twin.faults.set_all(json.loads(options.faults))
        sys.stdout.write(json.dumps(twin.describe()) + "\n")
        sys.stdout.flush()
        await end.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.railway", description="A Railway on loopback.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; any free one by default")
    parser.add_argument("--seed", type=int, default=0, help="of ids and of all that happens at random")
    parser.add_argument("--state-dir", type=Path, default=None, help="for the files of what runs; by default temporary")
    parser.add_argument("--plan", choices=sorted(PLANS), default="Pro", help="whose limits are kept")
    parser.add_argument("--settings", default="{}", metavar="JSON", help="other settings, see settings.py")
    parser.add_argument("--faults", default="{}", metavar="JSON", help="rates of faults, see faults.py")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
