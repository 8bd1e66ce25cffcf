"""The sample manifests against the models and their schemas."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.backends import KNOWN
from controller.model import API_VERSION, KINDS, AgentClaim, AgentPool, Resource

SAMPLES = sorted((Path(__file__).parents[2] / "manifests" / "samples").rglob("*.yaml"))
MODELS: dict[str, type[Resource]] = {kind.kind_name: kind for kind in KINDS}


def manifest(path: Path) -> dict[str, Any]:
    thing: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return thing


def unknown(written: Any, understood: Any, path: str = "") -> list[str]:
    """Fields that were written but that the model did not take up."""
    if not isinstance(written, dict):
        return []
    return [
        found
        for name, value in written.items()
        for found in (unknown(value, understood[name], f"{path}.{name}") if name in understood else [f"{path}.{name}"])
    ]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_is_understood_whole(path: Path) -> None:
    written = manifest(path)
    assert written["apiVersion"] == API_VERSION
    thing = MODELS[written["kind"]].model_validate(written)
    assert unknown(written["spec"], thing.model_dump(mode="json", by_alias=True)["spec"]) == []


def test_the_sample_claim_is_on_the_sample_pool() -> None:
    things = [MODELS[manifest(path)["kind"]].model_validate(manifest(path)) for path in SAMPLES]
    [claim] = [thing for thing in things if isinstance(thing, AgentClaim)]
    pools = [thing for thing in things if isinstance(thing, AgentPool)]
    assert {pool.spec.backend.name for pool in pools} == set(KNOWN)
    for pool in pools:
        assert claim.spec.pool == pool.metadata.name
        assert pool.spec.min_idle > 0
