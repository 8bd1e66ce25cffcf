"""Label and field selectors."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.standalone.kinds import Kind, dotted, value_at
from controller.standalone.statuses import ApiError, bad_request
from controller.standalone.store import Record

WORD = re.compile(r"\s*(==|!=|=|!|\(|\)|,|<|>|[^\s=!(),<>]+)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """The labels meet it."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
        return value is not None and _greater(value, self.values[0], self.operator)


def _greater(value: str, bound: str, operator: str) -> bool:
    try:
        left, right = int(value), int(bound)
    except ValueError:
        return False
    return left > right if operator == ">" else left < right


def _wrong(found: str, expected: str) -> ApiError:
    return bad_request(f"unable to parse requirement: found '{found}', expected: {expected}")


class _Parser:
    def __init__(self, text: str) -> None:
        self._words = WORD.findall(text)
        self._at = 0

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _next(self) -> str:
        word = self._peek()
        self._at += 1
        return word

    def requirements(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while self._peek():
            found.append(self._requirement())
            word = self._next()
            if word not in {",", ""}:
                raise _wrong(word, "',' or 'end of string'")
            if word == "," and not self._peek():
                raise bad_request("found '', expected: identifier after ','")
        return tuple(found)

    def _requirement(self) -> Requirement:
        word = self._next()
        if word == "!":
            return Requirement(self._key(self._next()), "absent")
        key = self._key(word)
        operator = self._peek()
        if operator in {"", ","}:
            return Requirement(key, "exists")
        self._next()
        if operator in {"=", "==", "!="}:
            value = self._next() if self._peek() not in {"", ","} else ""
            return Requirement(key, "notin" if operator == "!=" else "in", (value,))
        if operator in {"in", "notin"}:
            return Requirement(key, operator, self._values())
        if operator in {"<", ">"}:
            return Requirement(key, operator, (self._bound(),))
        raise _wrong(operator, "in, notin, =, ==, !=, gt, lt")

    def _key(self, word: str) -> str:
        if not word or word in {"=", "==", "!=", "!", "(", ")", ",", "<", ">"}:
            raise bad_request(f"found '{word}', expected: !, identifier, or 'end of string'")
        return word

    def _bound(self) -> str:
        bound = self._next()
        if not re.fullmatch(r"-?\d+", bound):
            raise bad_request(f"invalid value {bound!r}: for 'Gt', 'Lt' operators, the value must be an integer")
        return bound

    def _values(self) -> tuple[str, ...]:
        if (word := self._next()) != "(":
            raise _wrong(word, "'('")
        values: list[str] = []
        while True:
            word = self._next()
            if word in {",", ")"}:
                values.append("")
            else:
                if word in {"", "("}:
                    raise _wrong(word, "',' or ')'")
                values.append(word)
                word = self._next()
            if word == ")":
                return tuple(values)
            if word != ",":
                raise _wrong(word, "',' or ')'")


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """A label selector such as `app=web,tier in (a,b),!old`; 400 when it cannot be read."""
    return _Parser(text).requirements()


FieldCheck = Callable[[Record], bool]


def parse_fields(text: str, kind: Kind) -> tuple[FieldCheck, ...]:
    """A field selector over metadata.name, metadata.namespace and the kind's selectable fields."""
    return tuple(_field(part, kind) for part in text.split(",") if part)


def _field(part: str, kind: Kind) -> FieldCheck:
    match = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", part)
    if match is None:
        raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
    name, operator, wanted = match[1], match[2], match[3]
    if name == "metadata.name":
        return lambda record: (record.name == wanted) is (operator != "!=")
    if name == "metadata.namespace" and kind.namespaced:
        return lambda record: (record.namespace == wanted) is (operator != "!=")
    if name not in kind.selectable:
        raise bad_request(f"field label not supported: {name}")
    path = dotted(name)
    return lambda record: (_text(value_at(kind.served(record.obj), path)) == wanted) is (operator != "!=")


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource a list or watch shows."""

    namespace: str = ""
    labels: tuple[Requirement, ...] = ()
    fields: tuple[FieldCheck, ...] = ()

    @property
    def is_everything(self) -> bool:
        """No label or field selector."""
        return not self.labels and not self.fields

    def matches(self, record: Record) -> bool:
        """The object is shown."""
        if self.namespace and record.namespace != self.namespace:
            return False
        return all(r.holds(record.labels) for r in self.labels) and all(check(record) for check in self.fields)


def selection(kind: Kind, namespace: str, query: Mapping[str, str]) -> Selection:
    """The selection of a request."""
    labels = parse_labels(query.get("labelSelector", ""))
    return Selection(namespace, labels, parse_fields(query.get("fieldSelector", ""), kind))
