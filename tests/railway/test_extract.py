"""The extract of the schema is what the vendor has, and what was extracted."""

from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
)

from tests.railway.extract import EXTRACT, OPERATIONS, extract

FULL = Path(__file__).parents[3] / "shared" / "railway" / "schema.graphql"

COMPOUND = (GraphQLObjectType, GraphQLInterfaceType)


@pytest.fixture(scope="module")
def full_text() -> str:
    if not FULL.exists():
        pytest.skip("the vendor's full schema is not beside the project")
    return FULL.read_text()


@pytest.fixture(scope="module")
def full(full_text: str) -> GraphQLSchema:
    return build_schema(full_text, assume_valid=True)


@pytest.fixture(scope="module")
def ours() -> GraphQLSchema:
    return build_schema(EXTRACT.read_text())


def test_every_type_field_and_argument_of_the_extract_is_the_vendors(full: GraphQLSchema, ours: GraphQLSchema) -> None:
    differences = [
        difference
        for name, kind in ours.type_map.items()
        if not name.startswith("__")
        for difference in _differences(kind, full.get_type(name))
    ]
    assert differences == []


def test_the_extract_is_what_the_script_makes_of_the_full_schema(full_text: str) -> None:
    assert EXTRACT.read_text() == extract(full_text), "run: python -m tests.railway.extract FULL_SCHEMA"


def test_every_operation_that_is_wanted_is_there(ours: GraphQLSchema) -> None:
    for kind, wanted in OPERATIONS.items():
        found = ours.get_type(kind)
        assert isinstance(found, GraphQLObjectType)
        assert set(found.fields) == set(wanted)


def test_the_extract_says_where_it_comes_from() -> None:
    head = EXTRACT.read_text().partition('"""')[0]
    assert "railwayapp/cli" in head
    assert "MIT License" in head


def _differences(ours: GraphQLNamedType, theirs: GraphQLNamedType | None) -> list[str]:
    name = ours.name
    if theirs is None or type(theirs) is not type(ours):
        return [f"{name} is not a type of theirs"]
    if isinstance(ours, GraphQLEnumType) and isinstance(theirs, GraphQLEnumType):
        return [] if ours.values.keys() == theirs.values.keys() else [f"{name} has other values"]
    if isinstance(ours, GraphQLInputObjectType) and isinstance(theirs, GraphQLInputObjectType):
        return [] if _inputs(ours) == _inputs(theirs) else [f"{name} differs"]
    if isinstance(ours, COMPOUND) and isinstance(theirs, COMPOUND):
        fields = theirs.fields
        return [f"{name}.{field} differs" for field, each in ours.fields.items() if not _same(each, fields.get(field))]
    return []


def _inputs(kind: GraphQLInputObjectType) -> dict[str, tuple[str, object]]:
    return {field: (str(each.type), each.default_value) for field, each in kind.fields.items()}


def _same(ours: GraphQLField, theirs: GraphQLField | None) -> bool:
    if theirs is None:
        return False
    arguments = {name: (str(each.type), each.default_value) for name, each in ours.args.items()}
    wanted = {name: (str(each.type), each.default_value) for name, each in theirs.args.items()}
    return str(ours.type) == str(theirs.type) and arguments == wanted
