"""Watching: what a client sees, in which order, and from where."""

from tests.cluster.conftest import MERGE, Cluster

END = "k8s.io/initial-events-end"


async def test_a_watch_from_a_list_sees_everything_after_it(cluster: Cluster) -> None:
    await cluster.create("before")
    rv = await cluster.version()
    await cluster.create("a")
    async with cluster.watch(resourceVersion=rv) as watch:
        await cluster.patched("a", {"spec": {"color": "blue"}})
        await cluster.send("DELETE", f"{cluster.widgets}/a")
        assert await watch.take(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_resource_versions_rise_from_event_to_event(cluster: Cluster) -> None:
    async with cluster.watch(resourceVersion=await cluster.version()) as watch:
        await cluster.create("a")
        await cluster.patched("a", {"spec": {"color": "blue"}})
        await cluster.send("DELETE", f"{cluster.widgets}/a")
        versions = [int((await watch.next())["object"]["metadata"]["resourceVersion"]) for _ in range(3)]
    assert versions == sorted(set(versions))


async def test_a_watch_without_a_version_begins_with_what_is_there(cluster: Cluster) -> None:
    await cluster.create("a")
    await cluster.create("b")
    for params in ({}, {"resourceVersion": "0"}):
        async with cluster.watch(**params) as watch:
            assert sorted(await watch.take(2)) == [("ADDED", "a"), ("ADDED", "b")]


async def test_a_write_that_changes_nothing_is_no_event(cluster: Cluster) -> None:
    await cluster.create("a")
    async with cluster.watch(resourceVersion=await cluster.version()) as watch:
        await cluster.patched("a", {"spec": {"color": "red"}})
        await cluster.create("b")
        assert await watch.take(1) == [("ADDED", "b")]


async def test_an_event_holds_the_object_that_a_read_shows(cluster: Cluster) -> None:
    async with cluster.watch(resourceVersion=await cluster.version()) as watch:
        created = await cluster.create("a")
        assert await watch.next() == {"type": "ADDED", "object": created}


async def test_objects_enter_and_leave_a_selecting_watch(cluster: Cluster) -> None:
    await cluster.create("a")
    rv = await cluster.version()
    async with cluster.watch(resourceVersion=rv, labelSelector="team=x") as watch:
        await cluster.patched("a", {"metadata": {"labels": {"team": "x"}}})
        await cluster.patched("a", {"spec": {"color": "blue"}})
        await cluster.patched("a", {"metadata": {"labels": {"team": "y"}}})
        await cluster.patched("a", {"spec": {"color": "green"}})
        await cluster.create("b", labels={"team": "x"})
        assert await watch.take(4) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]


async def test_a_field_selecting_watch_follows_one_object(cluster: Cluster) -> None:
    async with cluster.watch(resourceVersion=await cluster.version(), fieldSelector="metadata.name=b") as watch:
        await cluster.create("a")
        await cluster.create("b")
        assert await watch.take(1) == [("ADDED", "b")]


async def test_a_watch_ends_when_its_time_is_up(cluster: Cluster) -> None:
    await cluster.create("a")
    async with cluster.watch(timeoutSeconds="1") as watch:
        assert [event["type"] for event in await watch.rest()] == ["ADDED"]


async def test_a_streamed_list_ends_with_an_annotated_bookmark(cluster: Cluster) -> None:
    await cluster.create("a")
    params = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    async with cluster.watch(**params) as watch:
        assert await watch.take(1) == [("ADDED", "a")]
        bookmark = await watch.next()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "Widget"
        assert bookmark["object"]["metadata"]["annotations"] == {END: "true"}
        rv = bookmark["object"]["metadata"]["resourceVersion"]
        await cluster.create("b")
        assert await watch.take(1) == [("ADDED", "b")]
    async with cluster.watch(resourceVersion=rv) as watch:
        assert await watch.take(1) == [("ADDED", "b")]


async def test_initial_events_need_the_matching_rule(cluster: Cluster) -> None:
    answer = await cluster.send("GET", cluster.widgets, watch="true", sendInitialEvents="true")
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")


async def test_a_version_that_is_no_number_is_refused(cluster: Cluster) -> None:
    answer = await cluster.send("GET", cluster.widgets, watch="true", resourceVersion="abc")
    # A genuine server answers 500 here and 400 to a list.
    assert answer.status_code in {400, 500}
    assert answer.json()["kind"] == "Status"


async def test_status_writes_reach_the_watch(cluster: Cluster) -> None:
    await cluster.create("a")
    async with cluster.watch(resourceVersion=await cluster.version()) as watch:
        patch = {"status": {"phase": "Ready"}}
        await cluster.send("PATCH", f"{cluster.widgets}/a/status", patch, content_type=MERGE)
        event = await watch.next()
        assert (event["type"], event["object"]["status"]) == ("MODIFIED", {"phase": "Ready"})


async def test_the_removal_of_the_last_finalizer_is_one_deletion(cluster: Cluster) -> None:
    await cluster.create("a", finalizers=["x.dev/y"])
    async with cluster.watch(resourceVersion=await cluster.version()) as watch:
        await cluster.send("DELETE", f"{cluster.widgets}/a")
        await cluster.patched("a", {"metadata": {"finalizers": None}})
        marked, gone = await watch.next(), await watch.next()
        assert (marked["type"], gone["type"]) == ("MODIFIED", "DELETED")
        assert gone["object"]["metadata"]["deletionTimestamp"]
        assert int(gone["object"]["metadata"]["resourceVersion"]) > int(marked["object"]["metadata"]["resourceVersion"])


async def test_a_watch_renders_tables(cluster: Cluster) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with cluster.watch(accept=accept, resourceVersion=await cluster.version()) as watch:
        await cluster.create("a", {"color": "blue"})
        event = await watch.next()
        assert event["object"]["kind"] == "Table"
        assert event["object"]["rows"][0]["cells"][:2] == ["a", "blue"]
        assert event["object"]["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
