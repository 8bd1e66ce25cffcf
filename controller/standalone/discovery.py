"""Discovery: which groups, versions and resources there are."""

import base64
import hashlib
from typing import Any

from controller.standalone.catalogue import Catalogue
from controller.standalone.kinds import Kind
from controller.standalone.schema import Object

VERSION = "v1.32.4"
REVIEWS = ("selfsubjectaccessreviews", "SelfSubjectAccessReview")


def version() -> Object:
    """/version: a release that kubectl and its dispatchers know."""
    major, minor, _ = VERSION.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": VERSION,
        "gitCommit": "agentpool-standalone",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": "linux/amd64",
    }


def core_versions() -> Object:
    """/api."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _group(name: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _groups(catalogue: Catalogue) -> dict[str, list[str]]:
    groups = {name: sorted(versions, key=_rank) for name, versions in catalogue.groups().items() if name}
    return {**groups, "authorization.k8s.io": ["v1"]}


def _rank(version: str) -> tuple[int, int, int, str]:
    # Kubernetes' order: v2 before v1 before v1beta2 before v1alpha1 before anything else.
    for stage, mark in enumerate(("", "beta", "alpha")):
        head, found, tail = version.removeprefix("v").partition(mark) if mark else (version.removeprefix("v"), "", "0")
        if version.startswith("v") and head.isdigit() and tail.isdigit() and (found or not mark):
            return stage, -int(head), -int(tail), ""
    return 3, 0, 0, version


def group_list(catalogue: Catalogue) -> Object:
    """/apis."""
    groups = [_group(name, versions) for name, versions in _groups(catalogue).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(catalogue: Catalogue, name: str) -> Object | None:
    """/apis/<group>."""
    versions = _groups(catalogue).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def resource_list(catalogue: Catalogue, group_name: str, version_name: str) -> Object | None:
    """/api/v1 and /apis/<group>/<version>."""
    kinds = catalogue.groups().get(group_name, {}).get(version_name, [])
    resources = [entry for kind in kinds for entry in _resources(kind)]
    if (group_name, version_name) == ("authorization.k8s.io", "v1"):
        plural, kind_name = REVIEWS
        resources.append(
            {"name": plural, "singularName": "", "namespaced": False, "kind": kind_name, "verbs": ["create"]},
        )
    if not resources:
        return None
    full = f"{group_name}/{version_name}" if group_name else version_name
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": full, "resources": resources}


def _resources(kind: Kind) -> list[Object]:
    base: Object = {"namespaced": kind.namespaced, "kind": kind.kind}
    names = {"shortNames": list(kind.short_names), "categories": list(kind.categories)}
    named = {key: value for key, value in names.items() if value}
    storage = base64.b64encode(hashlib.sha256(kind.resource.encode()).digest()[:8]).decode()
    head = {"name": kind.plural, "singularName": kind.singular, **base, "verbs": list(kind.verbs), **named}
    found = [{**head, "storageVersionHash": storage}]
    part = {"singularName": "", **base, "verbs": ["get", "patch", "update"]}
    if kind.status:
        found.append({"name": f"{kind.plural}/status", **part})
    if kind.scale is not None:
        scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        found.append({"name": f"{kind.plural}/scale", **part, **scale})
    return found


def aggregated(catalogue: Catalogue, *, core: bool) -> Object:
    """/api or /apis in one document: APIGroupDiscoveryList v2."""
    names = {"": ["v1"]} if core else _groups(catalogue)
    items = []
    for name, versions in names.items():
        described = []
        for version_name in versions:
            found = resource_list(catalogue, name, version_name) or {"resources": []}
            described.append(
                {
                    "version": version_name,
                    "resources": _aggregated_resources(name, version_name, found["resources"]),
                    "freshness": "Current",
                }
            )
        items.append({"metadata": {"name": name, "creationTimestamp": None}, "versions": described})
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}}
    return {**head, "items": items}


def _aggregated_resources(group_name: str, version_name: str, resources: list[Object]) -> list[Object]:
    found: dict[str, Object] = {}
    for entry in resources:
        name, _, subresource = entry["name"].partition("/")
        kind = {
            "group": entry.get("group", group_name),
            "version": entry.get("version", version_name),
            "kind": entry["kind"],
        }
        described: dict[str, Any] = {"responseKind": kind, "verbs": entry["verbs"]}
        if subresource:
            found[name].setdefault("subresources", []).append({"subresource": subresource, **described})
            continue
        scope = "Namespaced" if entry["namespaced"] else "Cluster"
        extras: Object = {key: entry[key] for key in ("shortNames", "categories") if key in entry}
        found[name] = {
            "resource": name,
            **described,
            "scope": scope,
            "singularResource": entry["singularName"],
            **extras,
        }
    return list(found.values())
