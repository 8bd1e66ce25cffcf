"""Executes operations: the schema's fields are methods, named as in Python."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLEnumType,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    build_ast_schema,
    get_operation_ast,
    parse,
    validate,
)
from graphql import execute as execute_document
from graphql.pyutils import is_awaitable

from tests.railway.mutations import Mutations
from tests.railway.queries import Queries
from tests.railway.records import Token

EXTRACT = Path(__file__).with_name("schema.graphql")


@dataclass(frozen=True, slots=True)
class Operation:
    """A valid one."""

    document: DocumentNode
    name: str
    """Its own, or that of its first field."""
    kind: str
    """query or mutation."""
    fields: tuple[str, ...]
    variables: Mapping[str, Any]
    operation_name: str | None


class Malformed(Exception):
    """Something that is not a valid operation, for these reasons."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


class Api:
    """The executable schema."""

    def __init__(self, queries: Queries, mutations: Mutations) -> None:
        self.schema = _schema()
        _attach(self.schema, "Query", queries)
        _attach(self.schema, "Mutation", mutations)
        self._valid: dict[str, DocumentNode] = {}

    def read(self, body: Mapping[str, Any]) -> Operation:
        """What a request asks for; ``Malformed`` when that makes no sense."""
        text, chosen = body.get("query"), body.get("operationName")
        if not isinstance(text, str):
            raise Malformed([GraphQLError("Must provide query string.")])
        document = self._document(text)
        operation = get_operation_ast(document, chosen)
        if operation is None:
            raise Malformed([GraphQLError("Must provide operation name if query contains multiple operations.")])
        fields = tuple(_fields(operation))
        name = operation.name.value if operation.name is not None else fields[0]
        return Operation(document, name, operation.operation.value, fields, body.get("variables") or {}, chosen)

    async def execute(self, operation: Operation, token: Token) -> ExecutionResult:
        """Do it."""
        outcome = execute_document(
            self.schema,
            operation.document,
            context_value=token,
            variable_values=dict(operation.variables),
            operation_name=operation.operation_name,
        )
        result = await outcome if is_awaitable(outcome) else outcome
        assert isinstance(result, ExecutionResult)
        for error in result.errors or ():
            # What is not raised as an answer is a mistake of the twin, and must not look like one of Railway's errors.
            if error.original_error is not None and not isinstance(error.original_error, GraphQLError):
                raise error.original_error
        return result

    def _document(self, text: str) -> DocumentNode:
        if text not in self._valid:
            try:
                document = parse(text)
            except GraphQLError as error:
                raise Malformed([error]) from None
            if errors := validate(self.schema, document):
                raise Malformed(errors)
            self._valid[text] = document
        return self._valid[text]


@cache
def _text() -> DocumentNode:
    return parse(EXTRACT.read_text())


def _schema() -> GraphQLSchema:
    """The extract, with a status that may be one which it does not know: the vendor adds some now and then."""
    schema = build_ast_schema(_text(), assume_valid=True)
    status = schema.get_type("DeploymentStatus")
    assert isinstance(status, GraphQLEnumType)
    status.coerce_output_value = str  # type: ignore[assignment, method-assign]
    return schema


def _attach(schema: GraphQLSchema, name: str, methods: object) -> None:
    kind = schema.get_type(name)
    for field_name, field in getattr(kind, "fields").items():  # noqa: B009 - the type is not known to have any
        method = getattr(methods, re.sub(r"(?<=[a-z])([A-Z])", r"_\1", field_name).lower())
        # A resolver is called with the object that has the field, and here nobody needs that.
        field.resolve = lambda _, info, method=method, **arguments: method(info, **arguments)


def _fields(operation: OperationDefinitionNode) -> list[str]:
    nodes = (getattr(node, "name", None) for node in operation.selection_set.selections)
    return [node.value for node in nodes if node is not None]
