"""A closed fence lets nothing through that has an effect, and everything that only looks."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import pytest

from controller.errors import Transient
from controller.ports import Backend, Cluster, FixedPlace, Place, Provider, Runtime
from controller.reconcile.fence import FencedBackend, FencedCluster, FencedProvider, FencedRuntime, fenced

LOOKS = {
    "list",
    "read",
    "read_secret",
    "read_config_map",
    "probe",
    "conversation",
    "logs",
    "changes",
    "pace",
    "close",
}
EFFECTS = {
    "create",
    "create_secret",
    "patch_secret",
    "patch",
    "delete",
    "announce",
    "provision",
    "launch",
    "terminate",
    "pause",
    "resume",
    "rename",
}


class Recorder:
    """Stands for any port, and notes what comes through."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def call(*_: Any, **__: Any) -> None:
            self.calls.append(name)

        return call


def closed() -> None:
    raise Transient("closed")


def members(port: type) -> list[str]:
    return [name for name in vars(port) if not name.startswith("_")]


PORTS: list[tuple[type, Callable[..., Any]]] = [
    (Cluster, FencedCluster),
    (Runtime, FencedRuntime),
    (Backend, FencedBackend),
]


@pytest.mark.parametrize(("port", "build"), PORTS)
def test_every_method_of_a_port_is_known_to_look_or_to_have_an_effect(port: type, build: Callable[..., Any]) -> None:
    assert set(members(port)) <= LOOKS | EFFECTS
    assert set(members(port)) <= set(dir(build))


@pytest.mark.parametrize(("port", "build"), PORTS)
async def test_effects_ask_and_looks_pass(port: type, build: Callable[..., Any]) -> None:
    for name in set(members(port)) & EFFECTS:
        inner = Recorder()
        parameters = inspect.signature(getattr(port, name)).parameters.values()
        positional = [object() for p in parameters if p.name != "self" and p.kind is p.POSITIONAL_OR_KEYWORD]
        named = {p.name: object() for p in parameters if p.kind is p.KEYWORD_ONLY}
        with pytest.raises(Transient, match="closed"):
            await getattr(build(inner, closed), name)(*positional, **named)
        assert inner.calls == []
        await getattr(build(inner, lambda: None), name)(*positional, **named)
        assert inner.calls == [name]
    inner = Recorder()
    await build(inner, closed).close() if hasattr(build, "close") else await build(inner, closed).list(object)
    assert len(inner.calls) == 1


def test_places_that_are_fixed_stay_so_and_others_are_fenced_when_they_are_opened() -> None:
    class Opener(Recorder):
        def connect(self, place: Place) -> Backend:
            return cast("Backend", Recorder())

    fixed = fenced(FixedPlace(cast("Backend", Recorder())), closed)
    assert isinstance(fixed, FixedPlace)
    assert isinstance(fixed.backend, FencedBackend)
    other = fenced(cast("Provider", Opener()), closed)
    assert isinstance(other, FencedProvider)
    assert isinstance(other.connect(cast("Place", None)), FencedBackend)
