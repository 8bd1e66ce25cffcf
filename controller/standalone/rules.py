"""CEL validation rules (x-kubernetes-validations): compiled with the schema, run over every write."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from controller.standalone import cel_library
from controller.standalone.schema import Schema
from controller.standalone.statuses import Cause
from controller.standalone.validation import MISSING, invalid_value, quoted

STRING_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
NO_SUCH_KEY = re.compile(r'Key not found in map : "(.*)"')
PREFIXES = {
    "FieldValueForbidden": "Forbidden: ",
    "FieldValueRequired": "Required value: ",
    "FieldValueDuplicate": "Duplicate value: ",
}


@cache
def _environment() -> Any:
    return cel_library.environment()


def _mentions(expression: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", STRING_LITERAL.sub("''", expression)) is not None


class RuleError(ValueError):
    """An expression does not compile; `where` says which one within its schema."""

    def __init__(self, where: str, expression: str, why: str) -> None:
        super().__init__(why)
        self.where = where
        self.expression = expression
        self.why = why


def _compile(where: str, expression: str, wanted: str) -> Any:
    try:
        program = _environment().compile(expression)
    except RuntimeError as error:
        raise RuleError(where, expression, str(error)) from error
    if program.return_type().name() not in {wanted, "DYN"}:
        raise RuleError(where, expression, f"must evaluate to a {wanted.lower()}")
    return program


def _result(outcome: Any) -> Any:
    try:
        return outcome.value()
    except TypeError:
        return "a result that is no value"  # such as an optional, hidden in dyn()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to run."""

    text: str
    program: Any
    message: str
    message_program: Any | None
    reason: str
    field_path: str
    transition: bool
    """Compares with the old value, so it does not run where there is none."""
    optional_old: bool

    def breach(self, value: Any, old: Any, path: str, shown: Any) -> Cause | None:
        """What `value` does wrong, if anything."""
        data = {"self": value, "oldSelf": None if old is MISSING else old, "had__old": old is not MISSING}
        data["old__value"] = data["oldSelf"]
        outcome = self.program.eval(data=data)
        result = _result(outcome)
        if result is True:
            return None
        where = (path + self.field_path).lstrip(".") or "<nil>"
        if result is not False:
            why = f"{_explained(str(result))} evaluating rule: {self.message or self.text}"
            return invalid_value(path or "<nil>", f'"{_type_name(shown)}"', why)
        return self._cause(where, self._message(data), shown)

    def _message(self, data: Mapping[str, Any]) -> str:
        if self.message_program is not None:
            text = _result(self.message_program.eval(data=data))
            if (
                isinstance(text, str)
                and text.strip()
                and "\n" not in text
                and not _is_error(self.message_program, data)
            ):
                return text.strip()
        return self.message or f"failed rule: {self.text}"

    def _cause(self, where: str, message: str, shown: Any) -> Cause:
        if prefix := PREFIXES.get(self.reason):
            return Cause(where, self.reason, prefix + message)
        if isinstance(shown, dict | list):
            return Cause(where, "FieldValueInvalid", f"Invalid value: {message}")
        return invalid_value(where, quoted(shown), message)


def _is_error(program: Any, data: Mapping[str, Any]) -> bool:
    return bool(program.eval(data=data).type().name() == "ERROR")


def _type_name(value: Any) -> str:
    return "object" if isinstance(value, dict) else "array" if isinstance(value, list) else str(type(value).__name__)


def _explained(error: str) -> str:
    found = NO_SUCH_KEY.search(error)
    return f"no such key: {found[1]}" if found else error


def _time_fields(schema: Schema, chain: str = "") -> Iterator[str]:
    if schema.get("format") == "date-time":
        yield chain
    for name, below in (schema.get("properties") or {}).items():
        yield from _time_fields(below, f"{chain}.{name}")


def _with_timestamps(expression: str, schema: Schema) -> str:
    """Date-time fields are timestamps to CEL; cel-expr-python takes none inside a map, so the expression converts.

    Fields of `self` and `oldSelf` named in full are converted, items of lists inside macros are not.
    """
    for chain in _time_fields(schema):
        field = re.compile(rf"(?<![\w.])(has\(\s*)?((?:self|oldSelf){re.escape(chain)})(?!\w)")
        expression = field.sub(lambda found: found[0] if found[1] else f"timestamp({found[2]})", expression)
    return expression


def _rule(where: str, spec: Mapping[str, Any], schema: Schema) -> Rule:
    text = spec["rule"].strip()
    converted = _with_timestamps(text, schema)
    transition = _mentions(text, "oldSelf")
    optional_old = bool(spec.get("optionalOldSelf"))
    program_text = converted
    if optional_old:
        program_text = f"cel.bind(oldSelf, had__old ? optional.of(old__value) : optional.none(), {converted})"
    expression = spec.get("messageExpression")
    return Rule(
        text=text,
        program=_compile(f"{where}.rule", program_text, "BOOL"),
        message=spec.get("message", ""),
        message_program=(
            _compile(f"{where}.messageExpression", _with_timestamps(expression, schema), "STRING")
            if expression
            else None
        ),
        reason=spec.get("reason") or "FieldValueInvalid",
        field_path=spec.get("fieldPath", ""),
        transition=transition,
        optional_old=optional_old,
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a schema and of everything below it; parts without rules are left out."""

    schema: Schema
    own: tuple[Rule, ...]
    properties: Mapping[str, "Rules"]
    items: "Rules | None"
    additional: "Rules | None"
    root: bool
    typing: "Typing | None"

    def breaches(self, value: Any, old: Any = MISSING, path: str = "") -> Iterator[Cause]:
        """Every rule that `value`, replacing `old`, breaks."""
        if value is None or (old is not MISSING and value == old and not self._has_transitions()):
            return
        if self.own:
            yield from self._own_breaches(value, old, path)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for name, inner in value.items():
                rules = self.properties.get(name, self.additional)
                if rules is not None:
                    yield from rules.breaches(inner, before.get(name, MISSING), f"{path}.{name}" if path else name)
        elif isinstance(value, list) and self.items is not None:
            earlier = self._correlated(old)
            for index, item in enumerate(value):
                yield from self.items.breaches(item, earlier.get(self._identity(item), MISSING), f"{path}[{index}]")

    def _has_transitions(self) -> bool:
        return any(rule.transition for rule in self.own)

    def _own_breaches(self, value: Any, old: Any, path: str) -> Iterator[Cause]:
        unchanged = old is not MISSING and value == old
        typed = self._visible(value)
        before = MISSING
        if old is not MISSING and old is not None and self._has_transitions():
            before = self._visible(old)
        for rule in self.own:
            if unchanged if not rule.transition else before is MISSING and not rule.optional_old:
                continue
            cause = rule.breach(typed, before, path, value)
            if cause is not None:
                yield cause

    def _visible(self, value: Any) -> Any:
        if self.root and isinstance(value, dict):
            metadata = value.get("metadata") or {}
            shown = {name: metadata[name] for name in ("name", "generateName") if name in metadata}
            value = value | {"metadata": shown}
        return value if self.typing is None else self.typing(value)

    def _identity(self, item: Any) -> str | None:
        if self.schema.get("x-kubernetes-list-type") != "map" or not isinstance(item, dict):
            return None
        return quoted([item.get(key) for key in self.schema.get("x-kubernetes-list-map-keys", [])])

    def _correlated(self, old: Any) -> dict[str | None, Any]:
        if not isinstance(old, list):
            return {}
        known = {self._identity(item): item for item in old}
        known.pop(None, None)
        return known


def compile_rules(schema: Schema, where: str = "", *, root: bool = True) -> Rules | None:
    """The rules of a schema, or None when there is none anywhere in it; RuleError for one that does not compile."""
    own = tuple(
        _rule(f"{where}.x-kubernetes-validations[{index}]", spec, schema)
        for index, spec in enumerate(schema.get("x-kubernetes-validations") or ())
    )
    properties: dict[str, Rules] = {}
    for name, inner in (schema.get("properties") or {}).items():
        if (compiled := compile_rules(inner, f"{where}.properties[{name}]", root=False)) is not None:
            properties[name] = compiled
    below = {
        name: compile_rules(schema[name], f"{where}.{name}", root=False)
        for name in ("items", "additionalProperties")
        if isinstance(schema.get(name), dict)
    }
    items, additional = below.get("items"), below.get("additionalProperties")
    if not own and not properties and items is None and additional is None:
        return None
    return Rules(schema, own, properties, items, additional, root, _typing(schema) if own else None)


Typing = Callable[[Any], Any]
"""Turns decoded JSON into what CEL sees."""


def _typing(schema: Schema) -> Typing | None:
    """How values of a schema become typed: numbers are doubles. None where JSON will do as it is."""
    if schema.get("type") == "number":
        return lambda value: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if schema.get("type") == "integer":
        return None
    inner = {name: typing for name, below in (schema.get("properties") or {}).items() if (typing := _typing(below))}
    items, additional = (
        _typing(schema[name]) if isinstance(schema.get(name), dict) else None
        for name in ("items", "additionalProperties")
    )
    if items is not None:
        return lambda value: [items(item) for item in value] if isinstance(value, list) else value
    if additional is not None:
        return lambda value: {n: additional(v) for n, v in value.items()} if isinstance(value, dict) else value
    return _object_typing(inner) if inner else None


def _object_typing(inner: Mapping[str, Typing]) -> Typing:
    def typed(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return value | {name: typing(value[name]) for name, typing in inner.items() if name in value}

    return typed
