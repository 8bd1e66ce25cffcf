"""What `kubectl get` prints."""

import pytest

from tests.cluster.conftest import MERGE, Cluster

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


async def test_columns_come_from_the_definition(cluster: Cluster) -> None:
    await cluster.create("a", {"color": "blue", "note": "hello"})
    status = {"status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}}
    await cluster.send("PATCH", f"{cluster.widgets}/a/status", status, content_type=MERGE)
    table = (await cluster.send("GET", cluster.widgets, accept=TABLE)).json()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]]
    assert columns == [
        ("Name", "string", 0),
        ("Color", "string", 0),
        ("Replicas", "integer", 0),
        ("Ready", "string", 0),
        ("Note", "string", 1),
        ("Age", "date", 0),
    ]
    assert table["columnDefinitions"][2]["description"] == "How many"
    assert table["rows"][0]["cells"][:5] == ["a", "blue", 1, "True", "hello"]
    assert table["rows"][0]["cells"][5].endswith("s")


async def test_a_missing_value_is_an_empty_cell(cluster: Cluster) -> None:
    await cluster.create("a")
    table = (await cluster.send("GET", f"{cluster.widgets}/a", accept=TABLE)).json()
    assert table["rows"][0]["cells"][3:5] == [None, None]


@pytest.mark.parametrize(
    ("include", "kind"), [("Object", "Widget"), ("Metadata", "PartialObjectMetadata"), ("None", None)], ids=str
)
async def test_rows_carry_as_much_of_the_object_as_is_asked_for(
    cluster: Cluster, include: str, kind: str | None
) -> None:
    await cluster.create("a")
    table = (await cluster.send("GET", cluster.widgets, accept=TABLE, includeObject=include)).json()
    obj = table["rows"][0]["object"]
    assert (obj["kind"] if obj else None) == kind


async def test_metadata_can_be_read_without_the_rest(cluster: Cluster) -> None:
    created = await cluster.create("a", labels={"k": "v"})
    one = (await cluster.send("GET", f"{cluster.widgets}/a", accept=PARTIAL)).json()
    assert one == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": created["metadata"]}
    listed = (await cluster.send("GET", cluster.widgets, accept=PARTIAL_LIST)).json()
    assert listed["kind"] == "PartialObjectMetadataList"
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]


async def test_an_error_is_a_status_even_when_a_table_is_wanted(cluster: Cluster) -> None:
    answer = await cluster.send("GET", f"{cluster.widgets}/missing", accept=TABLE)
    assert (answer.status_code, answer.json()["kind"]) == (404, "Status")


async def test_core_kinds_print_what_kubectl_users_know(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server has no printers for core kinds")
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "1", "b": "2"}}
    await cluster.send("POST", cluster.core("secrets"), body)
    table = (await cluster.send("GET", cluster.core("secrets"), accept=TABLE)).json()
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Type", "Data", "Age"]
    assert table["rows"][0]["cells"][:3] == ["s", "Opaque", 2]
