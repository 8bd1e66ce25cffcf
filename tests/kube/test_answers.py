"""What the API server's refusals mean, above all whether a 404 says that an object is gone."""

from datetime import UTC, datetime

import orjson
import pytest

from controller.errors import AgentpoolError, Missing, Unserved
from controller.kube.answers import date_in, error_for


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


DATES = {
    "a date of HTTP": ("Fri, 27 Nov 2026 23:00:00 GMT", datetime(2026, 11, 27, 23, tzinfo=UTC)),
    "another zone": ("Fri, 27 Nov 2026 23:00:00 +0200", datetime(2026, 11, 27, 21, tzinfo=UTC)),
    "no header": (None, None),
    "an empty header": ("", None),
    "no date": ("soon", None),
    "a month too many": ("Fri, 27 Dez 2026 23:00:00 GMT", None),
    "a year that no computer has": ("Fri, 27 Nov 99999999999 23:00:00 GMT", None),
    "a moment after the last one": ("Fri, 31 Dec 9999 23:59:59 -2300", None),
    # It would be read as a time of wherever the operator runs, hours away from what the API server meant.
    "no zone": ("Fri, 27 Nov 2026 23:00:00", None),
    "a zone that nobody knows": ("Fri, 27 Nov 2026 23:00:00 -0000", None),
}


@pytest.mark.parametrize(("header", "moment"), DATES.values(), ids=DATES)
def test_the_api_servers_date_is_read_and_what_is_none_is_left(header: str | None, moment: datetime | None) -> None:
    assert date_in(header) == moment
