"""RBAC as the API server judges it: what a request asks for, and whether Roles and their bindings allow it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class Asked:
    """What one request asks for."""

    namespace: str
    group: str
    resource: str
    """With its subresource."""
    verb: str
    name: str = ""


@dataclass(frozen=True)
class Grant:
    """One verb on one resource, as a rule gives it; without a namespace in all of them, without a name on all."""

    namespace: str
    group: str
    resource: str
    verb: str
    name: str = ""

    def allows(self, asked: Asked) -> bool:
        """Whether this alone is enough."""
        same = (self.group, self.resource, self.verb) == (asked.group, asked.resource, asked.verb)
        return same and self.namespace in {"", asked.namespace} and self.name in {"", asked.name}


def asked_by(method: str, path: str, *, watch: bool = False) -> Asked | None:
    """What a request asks for; ``None`` where it is about no resource (discovery, versions)."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, rest = "", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = [*rest, "", ""][:3]
    verb = _VERBS.get(method, "")
    if method == "GET":
        verb = "watch" if watch else "get" if name else "list"
    elif method == "DELETE":
        verb = "delete" if name else "deletecollection"
    return Asked(namespace, group, f"{resource}/{subresource}" if subresource else resource, verb, name)


def grants(documents: Iterable[dict[str, Any]], account: str, home: str) -> set[Grant]:
    """What those Roles and bindings give to a ServiceAccount of the namespace ``home``."""
    documents = list(documents)
    given = set()
    for binding in documents:
        where = binding["metadata"].get("namespace", "")
        if not binding["kind"].endswith("RoleBinding") or not _is_for(binding, account, home):
            continue
        [role] = [each for each in documents if _is_meant(each, binding["roleRef"], where)]
        namespace = "" if binding["kind"] == "ClusterRoleBinding" else where
        given |= {
            Grant(namespace, group, resource, verb, name)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for name in rule.get("resourceNames", [""])
        }
    return given


def _is_for(binding: dict[str, Any], account: str, home: str) -> bool:
    where = binding["metadata"].get("namespace", "")
    return any(
        (subject["kind"], subject["name"], subject.get("namespace", where)) == ("ServiceAccount", account, home)
        for subject in binding["subjects"]
    )


def _is_meant(role: dict[str, Any], reference: dict[str, Any], namespace: str) -> bool:
    named = (role["kind"], role["metadata"]["name"]) == (reference["kind"], reference["name"])
    return named and (role["kind"] == "ClusterRole" or role["metadata"].get("namespace", "") == namespace)
