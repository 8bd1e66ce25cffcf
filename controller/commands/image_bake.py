"""agentpool image bake: boots one instance of a pool that is nobody's, and makes an image of what it has laid out."""

import asyncio
import os
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import click

from controller.backends.docker.address import read_address
from controller.backends.docker.bake import LONG_SECONDS, Bake, BakeOrder, GoldenImage
from controller.backends.docker.engine import Engine
from controller.backends.docker.oven import Oven
from controller.commands.pool_source import PoolSource, pool_from_api, pool_from_file
from controller.errors import AgentpoolError, Misconfigured, Refused
from controller.model import AgentPool
from controller.ports import Endpoint, LaunchOrder
from controller.runtime import HttpRuntime
from controller.runtime.shapes import Shape, read
from controller.settings import Settings

PROBE_SECONDS = 0.2
PROBE_TIMEOUT = 5.0
TIDY_SECONDS = 3 * LONG_SECONDS
"""What stopping and committing may take besides, before another bake may take this one for dead."""
_TAG = re.compile(r"(?P<repository>[a-z0-9]+(?:[._/:-]+[a-z0-9]+)*?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?")


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants baked."""

    pool: str | None
    file: Path | None
    namespace: str | None
    tag: str
    timeout: float
    leave_out: tuple[str, ...]


class _Health(Shape):
    """What ``GET /pool/health`` of a newer runtime says besides being ready."""

    clean: bool | None = None


async def bake_image(request: Request, settings: Settings) -> None:
    """Bake, and print what came of it."""
    repository, tag = _name_of(request.tag)
    source = await _source(request, settings)
    template = source.pool.spec.template
    if source.pool.spec.backend.docker is None:
        raise Refused("NoImages", f"pool {source.pool.metadata.name} does not run images: it needs backend.docker")
    if template.image in (request.tag, f"{repository}:{tag}"):
        raise Refused("SameTag", f"the pool itself starts from {template.image}: give the golden image another --tag")
    order = _order(source, repository, tag, request)
    async with _oven() as oven:
        await oven.sweep()
        _say(f"starting {template.image}")
        async with oven.bake(order) as bake:
            endpoint = Endpoint(bake.url, template.protocol, order.launch.env["OPENCLAW_GATEWAY_TOKEN"])
            _say(f"waiting until it is ready, for at most {request.timeout:g} s")
            await _until_ready(bake, endpoint, request.timeout)
            await bake.check()
            _say("stopping it, and looking through what it has laid out")
            image = await bake.finish()
    _report(image, source.pool, f"{repository}:{tag}")


async def _source(request: Request, settings: Settings) -> PoolSource:
    if request.file is not None:
        return await asyncio.to_thread(pool_from_file, request.file, request.pool)
    if request.pool is None:
        raise Misconfigured("name the pool, or the file that holds it with -f")
    return await pool_from_api(request.pool, request.namespace, settings)


def _name_of(tag: str) -> tuple[str, str]:
    found = _TAG.fullmatch(tag)
    if found is None:
        raise Misconfigured(f"{tag!r} is no name for an image: --tag takes NAME[:TAG], for example agents/golden:1")
    return found["repository"], found["tag"] or "latest"


def _order(source: PoolSource, repository: str, tag: str, request: Request) -> BakeOrder:
    pool = source.pool
    identity = f"bake-{secrets.token_hex(6)}"
    env, made = environment(pool, identity)
    launch = LaunchOrder(
        uid=identity,
        name=identity,
        namespace=pool.metadata.namespace,
        pool=pool.metadata.name,
        backend=pool.spec.backend,
        template=pool.spec.template,
        env=env,
        pull_secret=source.pull_secret,
    )
    deadline = int(time.time() + request.timeout + TIDY_SECONDS)
    baked_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return BakeOrder(launch, made, repository, tag, request.leave_out, deadline, baked_at)


def environment(pool: AgentPool, identity: str) -> tuple[dict[str, str], dict[str, str]]:
    """The environment of the instance, and those values in it that were made for this bake, by their names.

    No Secret is read: what would come from one is a placeholder, so no key can get into the image.
    """
    made = {"OPENCLAW_GATEWAY_TOKEN": secrets.token_hex(32), "INSTANCE_ID": identity}
    env = {}
    for variable in pool.spec.template.env:
        if variable.value_from is not None:
            made[variable.name] = f"placeholder-{secrets.token_hex(12)}"
        env[variable.name] = variable.value or ""
    return {**env, **made}, made


@asynccontextmanager
async def _oven() -> AsyncIterator[Oven]:
    engine = Engine(read_address(os.environ))
    oven = Oven(engine, time.time)
    try:
        yield oven
    finally:
        await oven.close()
        await engine.close()


async def _until_ready(bake: Bake, endpoint: Endpoint, seconds: float) -> None:
    """Wait until its runtime is ready. ``Refused`` when that takes too long, or it is not clean."""
    runtime, detail = HttpRuntime(), "nothing has answered yet"
    try:
        async with asyncio.timeout(seconds):
            while True:
                readiness = await runtime.probe(endpoint, timeout=PROBE_TIMEOUT)
                if readiness.ready:
                    break
                detail = readiness.detail
                await bake.look()
                await asyncio.sleep(PROBE_SECONDS)
        await _require_clean(runtime, endpoint)
    except TimeoutError:
        message = f"the instance was not ready within {seconds:g} s: {detail}; see to it, or raise --timeout"
        raise Refused("NotReady", message) from None
    finally:
        await runtime.close()


async def _require_clean(runtime: HttpRuntime, endpoint: Endpoint) -> None:
    remedy = "an image is made of an instance that nothing has ever talked to: see what provisions it as it starts"
    clean = await _says_clean(endpoint)
    if clean is False:
        raise Refused("NotClean", f"the instance says that it is not clean; {remedy}")
    try:
        conversation = await runtime.conversation(endpoint, timeout=PROBE_TIMEOUT)
    except AgentpoolError as error:
        if clean:
            return
        raise Refused(
            "NotKnownToBeClean", f"the instance does not tell whether it has a conversation: {error}"
        ) from None
    if conversation is not None:
        raise Refused("NotClean", f"the instance is in a conversation; {remedy}")


async def _says_clean(endpoint: Endpoint) -> bool | None:
    """``None`` when it does not say: an older runtime, or a bare gateway, whose status says it all."""
    if endpoint.protocol != "pool":
        return None
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{endpoint.url}/pool/health", headers=headers) as answer,
        ):
            health = read(_Health, await answer.content.read(1 << 16))
            return health.clean if health is not None else None
    except (aiohttp.ClientError, TimeoutError):
        return None


def _report(image: GoldenImage, pool: AgentPool, tag: str) -> None:
    findings = image.findings
    click.echo(f"tag:   {tag}\nimage: {image.id}\nfrom:  {image.base}")
    click.echo(f"size:  {size_text(image.size)}, {size_text(findings.size)} of it in {findings.carried} new files")
    for title, paths in (
        ("left out", findings.left_out),
        ("removed by the program, back in the image", findings.deleted),
    ):
        if paths:
            click.echo(f"{title}: {', '.join(paths[:10])}{' ...' if len(paths) > 10 else ''}")
    if not findings.carried:
        _say("the instance has laid out nothing that could be kept, so this image starts no faster")
    click.echo(f"next:  set template.image of pool {pool.metadata.name} to {tag}")


def size_text(size: int) -> str:
    """Bytes for a person."""
    number = float(size)
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)
