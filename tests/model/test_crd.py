"""The generation of the CustomResourceDefinitions, and the files that are committed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import yaml
from click.testing import CliRunner
from pydantic import Field

from controller.errors import Misconfigured
from controller.model import KINDS, Resource, crd
from controller.model.crd import custom_resource_definitions, main, rendered
from controller.model.meta import Schema
from controller.model.presentation import Presentation

CRDS = Path(__file__).parents[2] / "crds"
DEFINITIONS = {definition["spec"]["names"]["kind"]: definition for definition in custom_resource_definitions()}


def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = DEFINITIONS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a schema, with the path of the field that it describes."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}.*")


KINDS_BY_NAME = pytest.mark.parametrize("kind", DEFINITIONS)


def test_every_kind_has_a_definition() -> None:
    assert list(DEFINITIONS) == [kind.kind_name for kind in KINDS]


def test_generating_twice_gives_the_same_bytes() -> None:
    assert rendered(custom_resource_definitions()) == rendered(custom_resource_definitions())


def test_the_committed_files_are_the_generated_ones() -> None:
    assert {path.name: path.read_text() for path in CRDS.glob("*.yaml")} == rendered(custom_resource_definitions())


def test_a_file_says_what_its_definition_says_without_aliases() -> None:
    for definition in DEFINITIONS.values():
        (content,) = rendered([definition]).values()
        assert yaml.safe_load(content) == definition
        assert not any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content))


def is_described(schema: dict[str, Any]) -> bool:
    words: str = schema.get("description", "")
    return words.endswith(".") and words == " ".join(words.split()) and "``" not in words


@KINDS_BY_NAME
def test_every_field_is_described_in_one_folded_line(kind: str) -> None:
    plain = {f"{kind}.metadata"}
    bare = [path for path, schema in nodes(schema_of(kind), kind) if not is_described(schema)]
    assert {path for path in bare if not path.endswith("[]")} == plain


def is_structural(schema: dict[str, Any]) -> bool:
    needed = {
        "integer": "format",
        "array": "x-kubernetes-list-type",
        "object": "type",
        "string": "type",
        "boolean": "type",
    }
    return (
        needed[schema["type"]] in schema
        and not schema.keys() & {"$ref", "anyOf", "allOf", "title", "nullable"}
        and set(schema.get("required", ())) <= schema.get("properties", {}).keys()
    )


@KINDS_BY_NAME
def test_every_schema_is_structural(kind: str) -> None:
    assert [path for path, schema in nodes(schema_of(kind), kind) if not is_structural(schema)] == []


def is_bounded(schema: dict[str, Any]) -> bool:
    bounds = {"string": {"maxLength"}, "array": {"maxItems"}, "integer": {"minimum", "maximum"}}
    return "enum" in schema or bounds.get(schema["type"], set()) <= schema.keys()


@KINDS_BY_NAME
def test_whatever_a_user_writes_is_bounded(kind: str) -> None:
    spec = schema_of(kind)["properties"]["spec"]
    assert [path for path, schema in nodes(spec, "spec") if not is_bounded(schema)] == []


@KINDS_BY_NAME
def test_a_status_holds_nothing_that_the_operator_did_not_write(kind: str) -> None:
    assert not [
        path for path, schema in nodes(schema_of(kind)["properties"]["status"], "status") if "default" in schema
    ]


@KINDS_BY_NAME
def test_conditions_are_merged_by_type(kind: str) -> None:
    conditions = schema_of(kind)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["items"]["required"] == ["type", "status"]


@KINDS_BY_NAME
def test_every_kind_is_namespaced_and_has_a_status_subresource(kind: str) -> None:
    spec = DEFINITIONS[kind]["spec"]
    assert spec["scope"] == "Namespaced"
    assert spec["names"]["categories"] == ["agents"]
    assert spec["versions"][0]["subresources"]["status"] == {}


def test_short_names_are_as_documented() -> None:
    assert [definition["spec"]["names"]["shortNames"] for definition in DEFINITIONS.values()] == [
        ["apool"],
        ["ainst"],
        ["aclaim"],
    ]


def test_only_a_pool_can_be_scaled_by_its_idle_instances() -> None:
    scales = {kind: it["spec"]["versions"][0]["subresources"].get("scale") for kind, it in DEFINITIONS.items()}
    assert scales == {
        "AgentPool": {
            "specReplicasPath": ".spec.minIdle",
            "statusReplicasPath": ".status.idle",
            "labelSelectorPath": ".status.selector",
        },
        "AgentInstance": None,
        "AgentClaim": None,
    }


@KINDS_BY_NAME
def test_every_column_shows_a_field_that_exists(kind: str) -> None:
    known = {path for path, _ in nodes(schema_of(kind), "")}
    for column in DEFINITIONS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = column["jsonPath"].replace('[?(@.type=="Ready")]', "[]")
        assert path in known or path == ".metadata.creationTimestamp"


class _Undescribed(Schema):
    """A spec with a field that nobody described."""

    secret: str = ""


class _Defaulted(Schema):
    """A spec."""

    size: int = 1
    """How large."""


class _Uneven(Schema):
    """A spec whose default is not the default of its parts."""

    inner: _Defaulted = Field(default_factory=lambda: _Defaulted(size=2))
    """The parts."""


class _Ambiguous(Schema):
    """A spec with a field of two types."""

    size: int | str = 1
    """How large."""


class _Untyped(Schema):
    """A spec with a map whose values may be anything: the API server would prune them."""

    labels: Annotated[dict[str, Any], Field(max_length=8)] = Field(default_factory=dict)
    """Marks."""


class _Mapped(Schema):
    """A spec with a map."""

    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=8)] = Field(
        default_factory=dict
    )
    """Marks."""


class _Formatted(Schema):
    """A spec with a format that the API server ignores."""

    address: Annotated[str, Field(json_schema_extra={"format": "uri-reference"})] = ""
    """Where."""


def definition_with(model: type[Schema], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The definition of a kind that has the model as its spec."""

    class Thing(Resource):
        """A kind."""

        kind_name: ClassVar[str] = "Thing"
        plural: ClassVar[str] = "things"
        spec: model  # type: ignore[valid-type]
        """What is wanted."""
        status: _Defaulted = Field(default_factory=_Defaulted)
        """What is."""

    monkeypatch.setattr(crd, "PRESENTATIONS", {Thing: Presentation("t", ())})
    (definition,) = custom_resource_definitions()
    return definition


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (_Undescribed, "_Undescribed.secret has no description: write a docstring below it"),
        (_Uneven, "a default of type _Defaulted must have the defaults of its fields"),
        (_Ambiguous, "Thing.spec.size uses anyOf, which a structural schema has no word for"),
        (_Untyped, "Thing.spec.labels uses additionalProperties of any type, which a structural schema has no word"),
        (_Formatted, "Thing.spec.address uses uri-reference, which a structural schema has no word for"),
    ],
)
def test_a_model_that_the_schema_cannot_tell_is_refused(
    model: type[Schema], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Misconfigured, match=f"^{sentence}"):
        definition_with(model, monkeypatch)


def test_a_map_keeps_the_bounds_of_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = definition_with(_Mapped, monkeypatch)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert schema["properties"]["labels"] == {
        "type": "object",
        "description": "Marks.",
        "maxProperties": 8,
        "default": {},
        "additionalProperties": {"type": "string", "maxLength": 63},
    }


def test_check_is_content_with_what_was_just_written(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "crds"
    assert CliRunner().invoke(main, [str(folder)]).exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "agentclaims.yaml",
        "agentinstances.yaml",
        "agentpools.yaml",
    ]
    result = CliRunner().invoke(main, ["--check", str(folder)])
    assert (result.exit_code, result.output) == (0, "")


def test_check_names_each_file_that_is_changed_missing_or_left_over(tmp_path: Path) -> None:
    CliRunner().invoke(main, [str(tmp_path)])
    (tmp_path / "agentpools.yaml").write_text("changed: by hand\n")
    (tmp_path / "agentclaims.yaml").unlink()
    (tmp_path / "agentthings.yaml").write_text("")
    result = CliRunner().invoke(main, ["--check", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{tmp_path}/agentpools.yaml differs from what the models say: run make crds",
        f"{tmp_path}/agentclaims.yaml is missing: run make crds",
        f"{tmp_path}/agentthings.yaml belongs to no kind: remove it",
    ]
    assert (tmp_path / "agentpools.yaml").read_text() == "changed: by hand\n"


def test_writing_to_a_place_that_is_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "crds").write_text("")
    result = CliRunner().invoke(main, [str(tmp_path / "crds")])
    assert result.exit_code == 2
    assert "is a file" in result.output


def test_a_folder_that_cannot_be_made_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(main, [str(tmp_path / "file" / "crds")])
    assert result.exit_code == 1
    assert result.output == f"Error: {tmp_path}/file/crds: Not a directory: choose a folder that you may write\n"
