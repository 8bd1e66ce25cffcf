"""The scale subresource: replicas of any kind, as autoscaling/v1 Scale."""

from typing import Any

from controller.standalone import patches
from controller.standalone.admission import Options
from controller.standalone.kinds import Kind, dotted, value_at
from controller.standalone.schema import Object
from controller.standalone.statuses import bad_request, no_such_path
from controller.standalone.writes import Result, Writer

_SHARED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(kind: Kind, obj: Object) -> Object:
    """The Scale of an object."""
    if kind.scale is None:
        raise no_such_path()
    status: Object = {"replicas": value_at(obj, dotted(kind.scale.status_replicas)) or 0}
    if kind.scale.label_selector and (selector := value_at(obj, dotted(kind.scale.label_selector))):
        status["selector"] = selector
    replicas = value_at(obj, dotted(kind.scale.spec_replicas))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: obj["metadata"][name] for name in _SHARED if name in obj["metadata"]},
        "spec": {"replicas": replicas} if replicas is not None else {},
        "status": status,
    }


def _set(obj: Object, path: tuple[str, ...], value: Any) -> Object:
    head, *rest = path
    return {**obj, head: _set(obj.get(head) or {}, tuple(rest), value) if rest else value}


def _with_replicas(kind: Kind, live: Object, scale: Any) -> Object:
    if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
        raise bad_request("the body of a scale request must be an autoscaling/v1 Scale")
    assert kind.scale is not None  # noqa: S101 - scale_of() has looked
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request('Scale in version "v1" cannot be handled as a Scale: spec.replicas must be a whole number')
    changed = _set(live, dotted(kind.scale.spec_replicas), replicas)
    metadata = scale.get("metadata") or {}
    versions = {name: metadata[name] for name in ("resourceVersion", "uid") if metadata.get(name)}
    if not versions.get("resourceVersion"):
        versions["resourceVersion"] = live["metadata"]["resourceVersion"]
    return {**changed, "metadata": {**live["metadata"], **versions}}


async def update(writer: Writer, kind: Kind, namespace: str, name: str, body: Any, options: Options) -> Result:
    """PUT of a scale."""
    live = kind.served(writer.head(kind, namespace, name).obj)
    scale_of(kind, live)
    return await writer.update(kind, namespace, name, _with_replicas(kind, live, body), options, "scale")


async def patch(
    writer: Writer, kind: Kind, namespace: str, name: str, media_type: str, body: Any, options: Options
) -> Result:
    """PATCH of a scale."""
    live = kind.served(writer.head(kind, namespace, name).obj)
    change = patches.patcher(media_type, body, strategic=True)
    patched = change(scale_of(kind, live))
    return await writer.update(kind, namespace, name, _with_replicas(kind, live, patched), options, "scale")
