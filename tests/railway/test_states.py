"""States of a deployment that come by themselves, late, or because a test wants them."""

import pytest

from tests.railway import Fault, Twin
from tests.railway.asking import STUB, Client


async def test_an_idle_service_falls_asleep_and_is_woken_by_traffic(client: Client, twin: Twin) -> None:
    twin.settings.idle = 0.3
    service_id = await client.create("agent")
    url = await client.add_domain(service_id)
    await client.commit(service_id, source={"image": STUB}, deploy={"sleepApplication": True})
    await client.until(service_id, "SLEEPING")
    first = twin.counts.boots[0]
    twin.settings.idle = 600.0
    seen = await client.environ(url)
    await client.until(service_id, "SUCCESS")
    assert [boot.reason for boot in twin.counts.boots] == ["deploy", "wake"]
    assert seen["OPENCLAW_STATE_DIR"] == first.environ["OPENCLAW_STATE_DIR"]
    assert seen["RAILWAY_DEPLOYMENT_ID"] == first.deployment_id
    assert twin.counts.deployments == {service_id: 1}


@pytest.mark.parametrize("status", ["NEEDS_APPROVAL", "WAITING", "SKIPPED", "A_STATUS_OF_THE_FUTURE"])
async def test_any_status_can_be_shown(client: Client, twin: Twin, status: str) -> None:
    service_id, _ = await client.launch()
    await client.until(service_id, "SUCCESS")
    twin.control.force(service_id, status)
    await client.until(service_id, status)
    twin.control.force(service_id)
    await client.until(service_id, "SUCCESS")


async def test_a_deployment_can_be_held_until_it_is_approved(client: Client, twin: Twin) -> None:
    twin.control.hold("NEEDS_APPROVAL")
    service_id, _ = await client.launch()
    await client.until(service_id, "NEEDS_APPROVAL")
    assert not twin.counts.boots
    twin.control.release(service_id)
    await client.until(service_id, "SUCCESS")


async def test_a_new_deployment_is_not_told_for_a_while(client: Client, twin: Twin) -> None:
    twin.settings.invisible = (600.0, 600.0)
    twin.faults.once(Fault.DEPLOYMENT_UNSEEN)
    service_id, url = await client.launch()
    await client.environ(url)
    node = await client.node(service_id)
    assert node is not None
    assert node["latestDeployment"] is None
    twin.environments["dev"].instances[service_id].deployments[0].visible = 0.0
    await client.until(service_id, "SUCCESS")
