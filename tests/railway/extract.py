"""Cuts the part of Railway's schema that agentpool and the twin use out of the full one.

    python -m tests.railway.extract FULL_SCHEMA

Types, fields, arguments, nullability and descriptions stay as the vendor has them; what nobody needs is left out.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from graphql import (
    DefinitionNode,
    DocumentNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    InputObjectTypeDefinitionNode,
    InterfaceTypeDefinitionNode,
    NamedTypeNode,
    Node,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
    Visitor,
    build_ast_schema,
    parse,
    print_schema,
    visit,
)

EXTRACT = Path(__file__).with_name("schema.graphql")
HEADER = """\
# An extract of Railway's public API (https://backboard.railway.com/graphql/v2), made by
# `python -m tests.railway.extract FULL_SCHEMA` and not to be edited: types and fields are as the vendor has them, and
# what is not needed is left out. The full schema is src/gql/schema.json of https://github.com/railwayapp/cli, printed
# as SDL. Its licence:
#
# MIT License
#
# Copyright (c) 2023 Railway Corp.
#
# Permission is hereby granted, free of charge, to any person obtaining a copy
# of this software and associated documentation files (the "Software"), to deal
# in the Software without restriction, including without limitation the rights
# to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
# copies of the Software, and to permit persons to whom the Software is
# furnished to do so, subject to the following conditions:
#
# The above copyright notice and this permission notice shall be included in all
# copies or substantial portions of the Software.
#
# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
# IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
# FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
# AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
# LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
# OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
# SOFTWARE.

"""

Definition = (
    ObjectTypeDefinitionNode
    | InterfaceTypeDefinitionNode
    | InputObjectTypeDefinitionNode
    | EnumTypeDefinitionNode
    | ScalarTypeDefinitionNode
)

LEAVES: tuple[str, ...] | None = None
"""Every field of a type that is a scalar or an enum."""
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "Query": (
        "buildLogs",
        "deployment",
        "deploymentLogs",
        "deployments",
        "environment",
        "environments",
        "me",
        "project",
        "projectToken",
        "service",
        "serviceInstance",
        "variables",
        "variablesForServiceDeployment",
    ),
    "Mutation": (
        "deploymentRedeploy",
        "deploymentRemove",
        "deploymentRestart",
        "deploymentStop",
        "environmentPatchCommit",
        "serviceCreate",
        "serviceDelete",
        "serviceDomainCreate",
        "serviceDomainDelete",
        "serviceInstanceDeployV2",
        "serviceInstanceUpdate",
        "serviceUpdate",
        "variableCollectionUpsert",
        "volumeCreate",
        "volumeDelete",
        "volumeInstanceUpdate",
        "volumeUpdate",
    ),
}
OBJECTS: Mapping[str, tuple[str, ...] | None] = {
    "AllDomains": ("customDomains", "serviceDomains"),
    "CustomDomain": LEAVES,
    "Deployment": LEAVES,
    "DeploymentDeploymentInstance": LEAVES,
    "Environment": LEAVES,
    "Log": LEAVES,
    "LogAttribute": LEAVES,
    "LogTags": LEAVES,
    "PageInfo": LEAVES,
    "Project": LEAVES,
    "ProjectToken": LEAVES,
    "Service": LEAVES,
    "ServiceDomain": LEAVES,
    "ServiceInstance": LEAVES,
    "ServiceSource": LEAVES,
    "User": ("email", "id", "name", "workspaces"),
    "Volume": LEAVES,
    "VolumeInstance": LEAVES,
    "Workspace": ("id", "name"),
}
NESTED: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("environment", "instances", "service"),
    "Environment": ("deployments", "serviceInstances", "sourceEnvironment", "volumeInstances"),
    "Log": ("attributes", "tags"),
    "Project": ("baseEnvironment", "environments", "services", "volumes", "workspace"),
    "ProjectToken": ("environment", "project"),
    "Service": ("project", "serviceInstances"),
    "ServiceInstance": ("activeDeployments", "domains", "latestDeployment", "service", "source"),
    "Volume": ("project", "volumeInstances"),
    "VolumeInstance": ("environment", "service", "volume"),
}


def extract(full: str) -> str:
    """The extract of a full schema, with its header."""
    known = {each.name.value: each for each in parse(full).definitions if isinstance(each, Definition)}
    kept: dict[str, Definition] = {}
    waiting = ["Query", "Mutation"]
    while waiting:
        name = waiting.pop()
        if name in kept or name not in known:
            continue
        kept[name] = _thin(known[name], known)
        waiting += _names(kept[name])
    definitions: tuple[DefinitionNode, ...] = tuple(kept[name] for name in sorted(kept))
    return HEADER + print_schema(build_ast_schema(DocumentNode(definitions=definitions))) + "\n"


def _thin(definition: Definition, known: Mapping[str, Definition]) -> Definition:
    if not isinstance(definition, ObjectTypeDefinitionNode):
        return definition
    fields = tuple(each for each in definition.fields or () if _wanted(definition.name.value, each, known))
    return ObjectTypeDefinitionNode(
        description=definition.description,
        name=definition.name,
        directives=definition.directives,
        interfaces=definition.interfaces,
        fields=fields,
    )


def _wanted(owner: str, field: FieldDefinitionNode, known: Mapping[str, Definition]) -> bool:
    name = field.name.value
    if owner in OPERATIONS:
        return name in OPERATIONS[owner]
    if owner not in OBJECTS:
        # A connection or its edge: all of it.
        return True
    if name in NESTED.get(owner, ()):
        return True
    named = OBJECTS[owner]
    if named is not None:
        return name in named
    [result] = _names(field.type)
    return not isinstance(known.get(result), ObjectTypeDefinitionNode)


def _names(node: Node) -> Iterator[str]:
    """Every type that a definition names."""
    found: list[str] = []

    class Names(Visitor):
        def enter_named_type(self, node: NamedTypeNode, *_: object) -> None:
            found.append(node.name.value)

    visit(node, Names())
    return iter(found)


def main() -> None:
    [path] = sys.argv[1:]
    EXTRACT.write_text(extract(Path(path).read_text()))


if __name__ == "__main__":
    main()
