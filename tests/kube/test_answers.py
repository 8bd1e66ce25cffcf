"""What the API server's refusals mean, above all whether a 404 says that an object is gone."""

import orjson
import pytest

from controller.errors import AgentpoolError, Missing, Unserved
from controller.kube.answers import error_for


def status(message: str, **details: object) -> bytes:
    kind = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return orjson.dumps(kind | {"message": message, "reason": "NotFound", "details": details, "code": 404})


NOT_FOUND = {
    "an object that is not there": (status('agentclaims "c" not found', name="c", kind="agentclaims"), Missing),
    "a namespace that is not there": (status('namespaces "n" not found', name="n", kind="namespaces"), Missing),
    "a server that has just started": (status("the server could not find the requested resource"), Unserved),
    "a path that nobody serves": (b"404 page not found\n", Unserved),
    "the page of something in between": (b"<html><h1>404 Not Found</h1></html>", Unserved),
    "JSON of something in between": (b'{"details": "nothing", "message": "no route"}', Unserved),
    "a name that is no text": (status("x", name=1), Unserved),
}


@pytest.mark.parametrize(("content", "error"), NOT_FOUND.values(), ids=NOT_FOUND)
def test_only_a_404_that_names_the_object_says_that_it_is_gone(content: bytes, error: type[AgentpoolError]) -> None:
    assert type(error_for(404, content, None)) is error


def test_a_kind_that_is_not_served_is_told_with_its_remedy() -> None:
    assert "the CRDs are not installed: run 'kubectl apply -f crds/'" in str(error_for(404, b"", None))
