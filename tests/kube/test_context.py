"""The namespace that a kubeconfig works in, whatever is in the file."""

from pathlib import Path

import pytest

from controller.kube.context import own_namespace

NAMED = """
current-context: c
clusters: [{name: k, cluster: {server: "https://h:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: c, context: {cluster: k, user: u, namespace: n}}, {name: d, context: {cluster: k, user: u}}]
"""
NONSENSE = {
    "no file of YAML": "{",
    "no kubeconfig": "[]",
    "a number that is none": "contexts: !!int ''",
    "a date that is none": "contexts: !!timestamp 'soon'",
    "a context that is a text": NAMED.replace("{cluster: k, user: u, namespace: n}", "n"),
    "nested deeper than anybody reads": "[" * 5000,
}


async def kept(folder: Path, content: str, context: str | None = None) -> str:
    path = folder / "config"
    path.write_text(content)
    return await own_namespace(path, context)


@pytest.mark.parametrize(("context", "namespace"), [(None, "n"), ("c", "n"), ("d", "default"), ("e", "default")])
async def test_it_is_that_of_the_context(tmp_path: Path, context: str | None, namespace: str) -> None:
    assert await kept(tmp_path, NAMED, context) == namespace


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("context", [None, "c"])
async def test_a_kubeconfig_that_cannot_be_read_has_none(tmp_path: Path, content: str, context: str | None) -> None:
    assert await kept(tmp_path, content, context) == "default"
