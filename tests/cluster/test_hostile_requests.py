"""What must not hurt the server: strangers, bombs and nonsense."""

import asyncio

import pytest

from tests.cluster.conftest import APPLY, JSON_PATCH, Cluster


@pytest.mark.parametrize(
    "header", ["", "Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer x y"], ids=["none", "wrong", "basic", "two words"]
)
async def test_without_the_token_nothing_is_shown(cluster: Cluster, header: str) -> None:
    for path in ("/api", "/version", "/openapi/v3", cluster.widgets, "/nothing"):
        answer = await cluster.http.get(path, headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.json()["reason"] == "Unauthorized"


@pytest.mark.parametrize("probe", ["/healthz", "/livez", "/readyz"])
async def test_probes_need_no_token(cluster: Cluster, probe: str) -> None:
    cluster.needs_standalone("the genuine test server knows no anonymous clients")
    answer = await cluster.http.get(probe, headers={"Authorization": ""})
    assert (answer.status_code, answer.text) == (200, "ok")


async def test_a_body_beyond_the_limit_is_refused(cluster: Cluster) -> None:
    body = cluster.widget("big", {"color": "red", "free": {"x": "y" * (3 * 1024 * 1024)}})
    answer = await cluster.send("POST", cluster.widgets, body)
    assert answer.status_code == 413
    assert answer.json()["reason"] == "RequestEntityTooLarge"
    assert await cluster.names() == []


DEEP = {
    "objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "lists": b"[" * 500_000 + b"]" * 500_000,
    "never closed": b"[" * 500_000,
    "just too deep": b'{"a":' * 150 + b"1" + b"}" * 150,
}


@pytest.mark.parametrize("body", DEEP.values(), ids=DEEP.keys())
@pytest.mark.parametrize("content_type", ["application/json", "application/yaml"])
async def test_depth_bombs_are_refused_and_the_server_lives(cluster: Cluster, body: bytes, content_type: str) -> None:
    cluster.needs_standalone("what a genuine server makes of nested nonsense is its own affair")
    answer = await cluster.send("POST", cluster.widgets, body, content_type=content_type)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
    assert await cluster.names() == []


async def test_a_deep_patch_is_refused(cluster: Cluster) -> None:
    cluster.needs_standalone("what a genuine server makes of nested nonsense is its own affair")
    await cluster.create("a")
    deep = b'{"spec":{"free":' + b'{"a":' * 150 + b"1" + b"}" * 150 + b"}}"
    for kind in ("application/merge-patch+json", APPLY):
        answer = await cluster.send("PATCH", f"{cluster.widgets}/a", deep, content_type=kind, fieldManager="x")
        assert answer.status_code == 400
    assert (await cluster.get("a"))["spec"]["color"] == "red"


async def test_a_yaml_alias_bomb_is_refused(cluster: Cluster) -> None:
    cluster.needs_standalone("a genuine server has limits of its own")
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    answer = await cluster.send("POST", cluster.widgets, "\n".join(lines).encode(), content_type="application/yaml")
    assert answer.status_code == 400
    assert "aliases" in answer.json()["message"]


async def test_a_patch_that_copies_its_own_copies_is_refused(cluster: Cluster) -> None:
    await cluster.create("a")
    copies = [{"op": "copy", "from": "/spec", "path": f"/spec/free/{name}"} for name in "ab"] * 40
    answer = await cluster.send(
        "PATCH",
        f"{cluster.widgets}/a",
        [{"op": "add", "path": "/spec/free", "value": {}}, *copies],
        content_type=JSON_PATCH,
    )
    assert 400 <= answer.status_code < 500
    assert "free" not in (await cluster.get("a"))["spec"]


@pytest.mark.parametrize("value", ["!!timestamp x", '!!int ""', "!!bool x", "!!binary x"])
async def test_a_yaml_tag_that_does_not_fit_its_value_is_refused(cluster: Cluster, value: str) -> None:
    cluster.needs_standalone("a genuine server reads tags in a way of its own")
    body = f"metadata: {{name: a}}\nspec: {{color: red, free: {{x: {value}}}}}"
    answer = await cluster.send("POST", cluster.widgets, body.encode(), content_type="application/yaml")
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")


PATHS = [
    "/apis/%00/v1/x",
    "/apis//v1/widgets",
    "/api/v1/namespaces/a/b/c/d/e/f",
    "/" + "x" * 5000,
    "/api/v1/..%2f..%2fetc",
]


@pytest.mark.parametrize("path", PATHS, ids=["nul", "empty group", "too many parts", "long", "dots"])
async def test_nonsense_paths_are_not_found(cluster: Cluster, path: str) -> None:
    cluster.needs_standalone("a genuine server redirects some of these")
    answer = await cluster.send("GET", path)
    assert (answer.status_code, answer.json()["kind"]) == (404, "Status")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
async def test_unknown_methods_are_refused_with_a_status(cluster: Cluster, method: str) -> None:
    cluster.needs_standalone("a genuine server has other words for it")
    answer = await cluster.send(method, cluster.widgets)
    assert (answer.status_code, answer.json()["kind"]) == (405, "Status")


async def test_bytes_that_are_no_http_hurt_nobody(cluster: Cluster) -> None:
    url = cluster.http.base_url
    for garbage in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"FOO \xff HTTP/1.1\r\nhost: x\r\n\r\n"):
        reader, writer = await asyncio.open_connection(url.host, url.port, ssl=cluster.server.tls)
        writer.write(garbage)
        await writer.drain()
        assert (await reader.readline()).split()[1:2] != [b"200"]
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    assert await cluster.names() == []
