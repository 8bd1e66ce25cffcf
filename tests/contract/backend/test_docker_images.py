"""Images that are fetched by the real engine from a real registry, and all that can be wrong with that."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from controller.errors import AgentpoolError, Refused, Transient
from controller.ports import LaunchOrder
from tests.contract.backend.docker_harness import DockerHarness
from tests.contract.backend.harness import eventually
from tests.contract.backend.registry import Registry, Trouble, registry


@pytest.fixture
async def open_registry() -> AsyncIterator[Registry]:
    async with registry() as made:
        yield made


def secret(host: str, password: str) -> str:
    return json.dumps({"auths": {host: {"auth": base64.b64encode(f"ada:{password}".encode()).decode()}}})


def order(world: DockerHarness, image: str, number: int = 0, policy: str = "IfNotPresent") -> LaunchOrder:
    return world.order(f"{world.installation}-{number}", docker={"pullPolicy": policy}, image=image)


async def refusal(world: DockerHarness, launch: LaunchOrder) -> Refused:
    backend = await world.make()
    with pytest.raises(Refused) as caught:
        await backend.launch(launch)
    assert await world.containers() == []
    return caught.value


async def test_an_image_that_is_missing_is_pulled_once_for_all_who_want_it(
    containers: DockerHarness, open_registry: Registry
) -> None:
    backend = await containers.make()
    image = open_registry.image("team/agent:1")
    await asyncio.gather(*(backend.launch(order(containers, image, number)) for number in range(4)))
    asked = open_registry.manifests

    assert len(await containers.containers()) == 4
    await backend.launch(order(containers, image, 5))
    assert open_registry.manifests == asked
    # One pull asks for the manifest at most twice: whether it is there, and what it says.
    assert asked <= 2


async def test_a_tag_is_asked_for_before_every_launch_when_the_pool_wants_that(
    containers: DockerHarness, open_registry: Registry
) -> None:
    backend = await containers.make()
    image = open_registry.image("agent")
    await backend.launch(order(containers, image, 1, "Always"))
    asked = open_registry.manifests
    await backend.launch(order(containers, image, 2, "Always"))
    assert open_registry.manifests > asked

    # What exists is found without asking.
    open_registry.trouble = "broken"
    await backend.launch(order(containers, image, 2, "Always"))
    with pytest.raises(Refused) as caught:
        await backend.launch(order(containers, image, 3, "Always"))
    assert caught.value.reason == "RegistryUnreachable"


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("gone", "ImageNotFound"),
        ("denied", "ImagePullDenied"),
        ("broken", "RegistryUnreachable"),
        ("nonsense", "RegistryUnreachable"),
        ("corrupt", "RegistryUnreachable"),
    ],
)
async def test_trouble_with_the_registry_is_told_apart(
    containers: DockerHarness, open_registry: Registry, trouble: Trouble, reason: str
) -> None:
    open_registry.trouble = trouble
    image = open_registry.image("agent:1")
    error = await refusal(containers, order(containers, image))

    assert error.reason == reason, str(error)
    assert image in str(error)


async def test_a_registry_that_nobody_serves_is_named(containers: DockerHarness) -> None:
    error = await refusal(containers, order(containers, "127.0.0.1:1/agent:1"))

    assert error.reason == "RegistryUnreachable"
    assert "refused" in str(error)


async def test_a_failed_pull_is_not_repeated_for_every_instance(
    containers: DockerHarness, open_registry: Registry
) -> None:
    open_registry.trouble = "gone"
    backend = await containers.make()
    for number in range(5):
        with pytest.raises(Refused):
            await backend.launch(order(containers, open_registry.image("agent:1"), number))

    assert open_registry.manifests <= 2


@pytest.mark.parametrize("policy", ["IfNotPresent", "Always"])
async def test_the_pull_secret_opens_a_registry(containers: DockerHarness, policy: str) -> None:
    async with registry("open-sesame") as closed:
        image = closed.image("agent:1")
        backend = await containers.make()
        launch = order(containers, image, policy=policy)
        with pytest.raises(Refused) as caught:
            await backend.launch(launch)
        assert caught.value.reason == "ImagePullDenied"
        assert "imagePullSecret" in str(caught.value)

        wrong = replace(launch, pull_secret=secret(f"127.0.0.1:{closed.port}", "guess-what"))
        with pytest.raises(Refused) as caught:
            await backend.launch(wrong)
        assert caught.value.reason == "ImagePullDenied"
        assert "guess-what" not in str(caught.value)

        elsewhere = replace(launch, pull_secret=secret("registry.example", "open-sesame"))
        with pytest.raises(Refused, match=f"nothing for 127.0.0.1:{closed.port}"):
            await backend.launch(elsewhere)

        # What failed with another secret is no reason to wait.
        await backend.launch(replace(launch, pull_secret=secret(f"http://127.0.0.1:{closed.port}/v2/", "open-sesame")))


async def test_an_image_that_is_missing_is_never_pulled_when_the_pool_says_so(
    containers: DockerHarness, open_registry: Registry
) -> None:
    error = await refusal(containers, order(containers, open_registry.image("agent:1"), policy="Never"))

    assert error.reason == "ImageNeverPulled"
    assert open_registry.manifests == 0


@pytest.mark.parametrize("image", ["a//b", "agent:", "agent@sha256:12", "registry.example/a:b:c"])
async def test_what_is_no_name_of_an_image_is_refused(containers: DockerHarness, image: str) -> None:
    launch = order(containers, "agent:1")
    template = launch.template.model_copy(update={"image": image})

    assert (await refusal(containers, replace(launch, template=template))).reason == "InvalidImageReference"


async def test_an_instance_that_is_ended_while_its_image_is_fetched_is_never_made(containers: DockerHarness) -> None:
    async with registry() as slow:
        slow.gate.clear()
        backend = await containers.make()
        launch = order(containers, slow.image("agent:1"))
        launching = asyncio.create_task(backend.launch(launch))
        await eventually(lambda: slow.waiting)
        assert await backend.terminate(launch.uid, grace=0.0) is True
        slow.gate.set()
        with pytest.raises(Transient):
            await launching
        assert await containers.containers() == []


async def test_a_controller_that_stops_does_not_wait_for_the_registry(containers: DockerHarness) -> None:
    async with registry() as slow:
        slow.gate.clear()
        backend = await containers.make()
        launching = asyncio.create_task(backend.launch(order(containers, slow.image("agent:1"))))
        await eventually(lambda: slow.waiting)
        await backend.close()
        with pytest.raises(AgentpoolError):
            await launching
        slow.gate.set()
    assert await containers.containers() == []
