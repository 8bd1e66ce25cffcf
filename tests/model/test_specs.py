"""What the API server accepts by the generated schemas, the models read; and what the template hash tells."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from cel_expr_python import cel
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from controller.model import KINDS, AgentInstance, AgentPool, BackendSpec, Network, Resource, Template, template_hash
from controller.model.crd import custom_resource_definitions
from controller.model.pool import PoolSpec
from tests.thorough import times

SCHEMAS: Mapping[str, dict[str, Any]] = {
    definition["spec"]["names"]["kind"]: definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for definition in custom_resource_definitions()
}


OFTEN = settings(max_examples=times(30, 100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""An example is a whole spec, and takes as long as a hundred others; longer still on a busy machine."""
ENVIRONMENT = cel.NewEnv(variables={"self": cel.Type.DYN})


@cache
def rule(expression: str) -> Any:
    return ENVIRONMENT.compile(expression)


def obeys_rules(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether the API server's rules at this place hold; those that compare with an older object do not run."""
    rules = [it["rule"] for it in schema.get("x-kubernetes-validations", ()) if "oldSelf" not in it["rule"]]
    return all(rule(text).eval(data={"self": defaulted(schema, value)}).value() for text in rules)


def defaulted(schema: Mapping[str, Any], value: Any) -> Any:
    """The value with the defaults that the API server adds."""
    if isinstance(value, dict) and "additionalProperties" in schema:
        return {name: defaulted(schema["additionalProperties"], child) for name, child in value.items()}
    if isinstance(value, dict):
        properties = schema["properties"]
        added = {name: it["default"] for name, it in properties.items() if "default" in it and name not in value}
        return {name: defaulted(properties[name], child) for name, child in (value | added).items()}
    if isinstance(value, list):
        return [defaulted(schema["items"], child) for child in value]
    return value


def texts(schema: Mapping[str, Any]) -> SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 8)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: shortest <= len(text) <= longest)
    return st.text(min_size=shortest, max_size=min(longest, 8))


def lists(schema: Mapping[str, Any]) -> SearchStrategy[list[Any]]:
    keys = schema.get("x-kubernetes-list-map-keys")
    unique = (lambda item: tuple(item[key] for key in keys)) if keys else None
    return st.lists(values(schema["items"]), max_size=min(schema.get("maxItems", 2), 2), unique_by=unique)


def objects(schema: Mapping[str, Any]) -> SearchStrategy[dict[str, Any]]:
    if "additionalProperties" in schema:
        return st.dictionaries(st.text(max_size=8), values(schema["additionalProperties"]), max_size=2)
    if schema["properties"].keys() == BackendSpec.model_fields.keys():
        return st.one_of([st.fixed_dictionaries({name: values(it)}) for name, it in schema["properties"].items()])
    required = schema.get("required", ())
    fields = {name: values(child) for name, child in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


def values(schema: Mapping[str, Any]) -> SearchStrategy[Any]:
    """Whatever the API server accepts by this schema."""
    made: Mapping[str, Any] = {
        "string": texts,
        "integer": lambda it: st.integers(it.get("minimum", -(2**31)), it.get("maximum", 2**31 - 1)),
        "boolean": lambda _: st.booleans(),
        "array": lists,
        "object": objects,
    }
    strategy = st.sampled_from(schema["enum"]) if "enum" in schema else made[schema["type"]](schema)
    return strategy.filter(lambda value: obeys_rules(schema, value))


def fitted(spec: dict[str, Any]) -> dict[str, Any]:
    """The pool with a template that its backend can run: few drawn at random have one."""
    template = dict(spec.get("template", {}))
    if "docker" in spec["backend"]:
        template.pop("git", None)
        return spec | {"template": {"image": "agent:1"} | template}
    if "railway" in spec["backend"]:
        template["resources"] = {name: it for name, it in template.get("resources", {}).items() if name != "pids"}
        source = {} if "git" in template else {"image": "agent:1"}
        return spec | {"template": source | template, "warmStrategy": "Running"}
    for name in ("image", "git", "volume", "resources"):
        template.pop(name, None)
    return spec | {"template": template, "warmStrategy": "Running"}


SPECS = {kind: values(schema["spec"]) for kind, schema in SCHEMAS.items()}
_POOL = SCHEMAS["AgentPool"]["spec"]
SPECS["AgentPool"] = objects(_POOL).map(fitted).filter(lambda spec: obeys_rules(_POOL, spec))
STATUSES = {kind: values(schema["status"]) for kind, schema in SCHEMAS.items()}
PARTS = st.sampled_from(("backend", "template"))


def dumped(parsed: Any) -> Any:
    return parsed.model_dump(mode="json", by_alias=True, exclude_none=True)


DEFAULTED = [kind for kind in KINDS if kind is not AgentInstance]


def test_instances_are_written_in_full_and_never_defaulted() -> None:
    spec = {"pool": "p", "templateHash": "h", "backend": {"process": {}}}
    assert defaulted(SCHEMAS["AgentInstance"]["spec"], spec) == spec


@pytest.mark.parametrize("kind", DEFAULTED, ids=lambda kind: kind.kind_name)
@OFTEN
@given(data=st.data())
def test_a_spec_that_the_api_server_accepts_is_read_with_the_defaults_that_it_would_add(
    kind: type[Resource], data: st.DataObject
) -> None:
    spec = data.draw(SPECS[kind.kind_name])
    model = kind.model_fields["spec"].annotation
    assert model is not None
    assert dumped(model.model_validate(spec)) == defaulted(SCHEMAS[kind.kind_name]["spec"], spec)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind_name)
@OFTEN
@given(data=st.data())
def test_an_object_survives_being_read_and_written_back(kind: type[Resource], data: st.DataObject) -> None:
    raw = {
        "metadata": {"name": "n", "namespace": "ns"},
        "spec": data.draw(SPECS[kind.kind_name]),
        "status": data.draw(STATUSES[kind.kind_name]),
    }
    parsed = kind.parse(raw)
    assert kind.parse(dumped(parsed)) == parsed


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind_name)
def test_null_means_absent(kind: type[Resource]) -> None:
    optional = [name for name, it in kind.model_fields["status"].annotation.model_fields.items() if it.default is None]  # type: ignore[union-attr]
    assert optional
    spec = {"pool": "p", "templateHash": "0", "backend": {"process": {}}}
    parsed = kind.parse({"spec": spec, "status": dict.fromkeys(optional)})
    assert parsed == kind.parse({"spec": spec})


def hash_of(spec: PoolSpec) -> str:
    return template_hash(spec.backend, spec.template)


def built(spec: PoolSpec) -> tuple[Any, ...]:
    """All that an instance is built from: how the operator gets in at its backend is no part of it."""
    railway = spec.backend.railway
    if railway is None:
        return spec.backend, spec.template
    way_in = {"token_secret_ref", "token_type", "plan"}
    return railway.model_dump(exclude=way_in), spec.template


@OFTEN
@given(SPECS["AgentPool"], SPECS["AgentPool"])
def test_two_pools_share_a_hash_if_and_only_if_they_share_backend_and_template(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, second = PoolSpec.model_validate(one), PoolSpec.model_validate(other)
    assert (hash_of(first) == hash_of(second)) == (built(first) == built(second))


@OFTEN
@given(SPECS["AgentPool"], SPECS["AgentPool"])
def test_nothing_but_backend_and_template_changes_the_hash(one: dict[str, Any], other: dict[str, Any]) -> None:
    kept = {name: one[name] for name in ("backend", "template") if name in one}
    mixed = {name: value for name, value in other.items() if name not in {"backend", "template"}} | kept
    assert hash_of(PoolSpec.model_validate(mixed)) == hash_of(PoolSpec.model_validate(one))


@OFTEN
@given(SPECS["AgentPool"], SPECS["AgentPool"], PARTS)
def test_a_change_of_backend_or_template_alone_changes_the_hash(
    one: dict[str, Any], other: dict[str, Any], part: str
) -> None:
    before = PoolSpec.model_validate(one)
    after = before.model_copy(update={part: getattr(PoolSpec.model_validate(other), part)})
    assume(built(after) != built(before))
    assert hash_of(after) != hash_of(before)


@OFTEN
@given(SPECS["AgentPool"])
def test_the_hash_is_the_same_for_what_the_api_server_filled_in(spec: dict[str, Any]) -> None:
    filled = defaulted(SCHEMAS["AgentPool"]["spec"], spec)
    assert hash_of(PoolSpec.model_validate(filled)) == hash_of(PoolSpec.model_validate(spec))


def test_the_hash_of_a_plain_pool_stays_what_it_was_in_earlier_versions() -> None:
    plain = AgentPool.parse({"spec": {"backend": {"process": {}}}})
    built = AgentPool.parse(
        {
            "spec": {
                "backend": {"process": {"terminationGraceSeconds": 5}},
                "template": {
                    "command": ["agent"],
                    "env": [{"name": "A", "value": "b"}],
                    "resources": {"memory": "1Gi"},
                },
            }
        }
    )
    assert (hash_of(plain.spec), hash_of(built.spec)) == ("891f021df1", "83672b50c7")


RAILWAY = {"projectId": "p", "environmentId": "e", "tokenSecretRef": {"name": "railway", "key": "token"}}


def on_railway(**changed: Any) -> BackendSpec:
    return BackendSpec.model_validate({"railway": RAILWAY | changed})


@pytest.mark.parametrize(
    "changed",
    [{"tokenSecretRef": {"name": "railway", "key": "newer"}}, {"tokenType": "Account"}, {"plan": "Pro"}],
    ids=["another token", "another kind of token", "another plan"],
)
def test_how_the_operator_gets_in_replaces_no_instance_but_is_another_connection(changed: dict[str, Any]) -> None:
    before, after = on_railway(), on_railway(**changed)
    assert template_hash(before, Template()) == template_hash(after, Template())
    assert before.place("default") != after.place("default")


@pytest.mark.parametrize("changed", [{"environmentId": "f"}, {"region": "eu"}, {"sleepApplication": True}])
def test_what_an_instance_is_built_with_replaces_it(changed: dict[str, Any]) -> None:
    assert template_hash(on_railway(), Template()) != template_hash(on_railway(**changed), Template())


@pytest.mark.parametrize(
    ("template", "network"),
    [
        ({"network": "production"}, Network.PRODUCTION),
        ({"env": [{"name": "XMTP_ENV", "value": "dev"}]}, Network.DEV),
        ({"env": [{"name": "XMTP_ENV", "value": " production "}]}, Network.PRODUCTION),
        ({"env": [{"name": "XMTP_ENV", "value": "local"}]}, None),
        ({"env": [{"name": "XMTP_ENV", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}, None),
        ({"env": [{"name": "OTHER", "value": "dev"}]}, None),
        ({}, None),
    ],
    ids=["by network", "by its variable", "with blanks", "one that is not known", "in a Secret", "another one", "no"],
)
def test_a_template_says_in_which_network_its_agents_live(template: dict[str, Any], network: Network | None) -> None:
    assert Template.model_validate(template).lives_in is network


@pytest.mark.parametrize(
    ("backend", "name", "deploys", "sleeps"),
    [
        ({"process": {}}, "process", False, False),
        ({"docker": {}}, "docker", False, False),
        ({"railway": RAILWAY}, "railway", True, False),
        ({"railway": RAILWAY | {"sleepApplication": True}}, "railway", True, True),
    ],
    ids=["process", "docker", "railway", "railway that puts to sleep"],
)
def test_a_backend_says_what_it_does_with_its_instances(
    backend: dict[str, Any], name: str, deploys: bool, sleeps: bool
) -> None:
    spec = BackendSpec.model_validate(backend)
    assert (spec.name, spec.deploys, spec.sleeps) == (name, deploys, sleeps)
