"""Every operation is one that Railway understands."""

from pathlib import Path

import graphql
import pytest

from controller.backends.railway.documents import DOCUMENTS

PROJECT = Path(__file__).parents[2]
SCHEMAS = {
    "extract": PROJECT / "tests" / "railway" / "schema.graphql",
    "full": PROJECT.parent / "shared" / "railway" / "schema.graphql",
}


@pytest.fixture(params=SCHEMAS, scope="module")
def schema(request: pytest.FixtureRequest) -> graphql.GraphQLSchema:
    path = SCHEMAS[request.param]
    if request.param == "full" and not path.exists():
        pytest.skip("the full schema of the vendor is not beside the project")
    return graphql.build_schema(path.read_text(encoding="utf-8"), assume_valid=True)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_an_operation_fits_the_schema(schema: graphql.GraphQLSchema, name: str) -> None:
    assert graphql.validate(schema, graphql.parse(DOCUMENTS[name].text)) == []


def test_an_operation_that_does_not_fit_would_be_noticed(schema: graphql.GraphQLSchema) -> None:
    text = DOCUMENTS["Service"].text.replace("deletedAt", "buriedAt")
    assert [error.message for error in graphql.validate(schema, graphql.parse(text))] != []


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_file_holds_one_operation_of_its_own_name_and_says_rightly_whether_it_changes_anything(name: str) -> None:
    (operation,) = graphql.parse(DOCUMENTS[name].text).definitions
    assert isinstance(operation, graphql.OperationDefinitionNode)
    assert operation.name is not None
    assert (operation.name.value, operation.operation is graphql.OperationType.MUTATION) == (
        name,
        DOCUMENTS[name].mutation,
    )


def test_no_document_can_be_exchanged_at_run_time() -> None:
    with pytest.raises(TypeError):
        DOCUMENTS["Service"] = DOCUMENTS["Variables"]  # type: ignore[index]
