"""Two operators as processes: one leads, the other one stands by and takes over, whatever happens to the first."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import host
from tests.e2e.conftest import server
from tests.e2e.system import System, set_up
from tests.e2e.test_trouble import api_server
from tests.e2e.waiting import eventually
from tests.ha.replicas import QUICK, Replicas, check_nothing_is_doubled_or_lost
from tests.thorough import times

__all__ = ["api_server", "server"]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROUNDS = times(2, 4)

Set = Callable[[], Replicas]


@pytest.fixture
def replicas(server: tuple[str, Path | None], api_server: Path, tmp_path: Path) -> Iterator[Replicas]:
    """Two operators that are not started yet; afterwards their output must be free of mistakes."""
    both = Replicas(server[0], api_server, tmp_path, **QUICK)
    yield both
    try:
        for replica in both.all:
            if replica.command.process is not None:
                replica.command.check_output()
    finally:
        both.erase()


def warm_with_a_claim(system: System, count: int = 2) -> dict[str, list[int]]:
    system.pool("p", minIdle=count, maxTotal=12)
    system.claim("c", "p")
    system.bound("c")
    system.warm("p", count)
    return host.mains(system.instances_root)


def test_one_leads_the_other_one_is_ready_and_says_for_whom_it_stands_by(replicas: Replicas) -> None:
    leader, standby = replicas.start()
    holder = replicas.lease()["spec"]["holderIdentity"]
    assert leader.command.readiness() == (200, "ok")
    assert standby.command.readiness() == (200, f"standby: {holder} leads")
    assert leader.leads()
    assert not standby.leads()
    assert holder in replicas.system.api.kubectl("get", "lease", "agentpool", "-o", "yaml")
    before = replicas.lease()["spec"]
    eventually(lambda: replicas.lease()["spec"]["renewTime"] != before["renewTime"])
    assert replicas.lease()["spec"]["leaseTransitions"] == before["leaseTransitions"]


def test_after_a_clean_stop_the_other_one_leads_at_once_and_finds_every_instance(replicas: Replicas) -> None:
    leader, standby = replicas.start()
    before = warm_with_a_claim(replicas.system)
    assert leader.command.stop() == 0
    assert "the Lease is given up" in leader.command.output
    replicas.wait_to_lead(standby)
    assert host.mains(replicas.system.instances_root) == before
    replicas.system.claim("d", "p")
    check_nothing_is_doubled_or_lost(replicas.system, "p", ["c", "d"])


def test_after_a_crash_the_other_one_leads_and_the_one_that_comes_back_stands_by(replicas: Replicas) -> None:
    leader, standby = replicas.start()
    before = warm_with_a_claim(replicas.system)
    replicas.system.claim("d", "p")
    leader.command.kill()
    replicas.wait_to_lead(standby)
    assert before.keys() <= host.mains(replicas.system.instances_root).keys()
    leader.command.start()
    replicas.wait_to_stand_by(leader)
    check_nothing_is_doubled_or_lost(replicas.system, "p", ["c", "d"])


def test_a_leader_that_is_cut_off_stops_first_and_stands_by_when_it_is_back(replicas: Replicas) -> None:
    leader, standby = replicas.start()
    warm_with_a_claim(replicas.system)
    leader.relay.close()
    replicas.system.claim("d", "p")
    replicas.wait_to_lead(standby)
    assert not leader.leads()
    assert leader.command.readiness()[0] == 503
    replicas.system.bound("d")
    leader.relay.open()
    replicas.wait_to_stand_by(leader)
    check_nothing_is_doubled_or_lost(replicas.system, "p", ["c", "d"])
    assert standby.command.stop() == 0
    replicas.wait_to_lead(leader)
    replicas.system.claim("e", "p")
    check_nothing_is_doubled_or_lost(replicas.system, "p", ["c", "d", "e"])


@pytest.mark.slow
def test_leaders_that_are_stopped_past_their_lease_while_claims_come_in_double_nothing(replicas: Replicas) -> None:
    dice = random.Random(20261127)
    leader, standby = replicas.start()
    replicas.system.pool("p", minIdle=3, maxTotal=14)
    replicas.system.warm("p", 3)
    kept: list[str] = []
    for number in range(ROUNDS):
        burst = [f"c{number}-{each}" for each in range(3)]
        for name in burst:
            replicas.system.claim(name, "p")
        if len(kept) > 3:
            replicas.system.api.delete("agentclaims", kept.pop(dice.randrange(len(kept))))
        time.sleep(dice.uniform(0, 0.15))
        leader.stop()
        kept += burst
        replicas.wait_to_lead(standby)
        replicas.system.claim(f"d{number}", "p")
        kept.append(f"d{number}")
        time.sleep(dice.uniform(0, 0.5))
        leader.go_on()
        leader, standby = standby, leader
        replicas.wait_to_stand_by(standby)
        for name in kept:
            replicas.system.bound(name)
        while len(kept) > 6:
            replicas.system.api.delete("agentclaims", kept.pop(dice.randrange(len(kept))))
    check_nothing_is_doubled_or_lost(replicas.system, "p", kept)


def test_standalone_leads_without_a_lease(tmp_path: Path) -> None:
    system = set_up("standalone", tmp_path, None)
    try:
        assert "agentpool_leader 1.0" in system.command.metrics()
        leases = system.api.http.get("/apis/coordination.k8s.io/v1/leases").json()
        assert leases["items"] == []
        assert system.command.stop() == 0
    finally:
        system.erase()
