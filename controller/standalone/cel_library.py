"""Kubernetes' own CEL functions, as far as Python can add them to the CEL library."""

import ipaddress
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings

QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([eE][+-]?\d+|m|k|M|G|T|P|E|n|u|Ki|Mi|Gi|Ti|Pi|Ei)?")
SUFFIXES: dict[str, Decimal] = {
    **{name: Decimal(1024) ** (power + 1) for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
    **{name: Decimal(1000) ** (power + 1) for power, name in enumerate(("k", "M", "G", "T", "P", "E"))},
    "m": Decimal("1e-3"),
    "u": Decimal("1e-6"),
    "n": Decimal("1e-9"),
    "": Decimal(1),
}

# A quantity or URL is a map inside CEL: functions in Python can return no other structured value.
Opaque = dict[str, str]


def parse_quantity(text: str) -> Decimal:
    """The number a Kubernetes quantity such as `500m` or `1.5Gi` stands for; ValueError otherwise."""
    match = QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"quantity {text!r} must match the regular expression of resource quantities")
    number, suffix = match[1], match[2] or ""
    if suffix[:1] in {"e", "E"} and len(suffix) > 1:
        return Decimal(number + suffix)
    return Decimal(number) * SUFFIXES[suffix]


def _quantity(text: str) -> Opaque:
    return {"quantity": format(parse_quantity(text), "f")}


def _number(value: Any) -> Decimal:
    try:
        return Decimal(value["quantity"]) if isinstance(value, dict) else Decimal(str(value))
    except (KeyError, InvalidOperation) as error:
        raise ValueError("not a quantity") from error


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _split_url(text: str) -> SplitResult:
    parts = urlsplit(text)
    if not (parts.scheme or text.startswith("/")) or " " in text:
        raise ValueError(f"URL parse error: {text!r} is not an absolute URL or path")
    _ = parts.port
    return parts


def _url(text: str) -> Opaque:
    _split_url(text)
    return {"url": text}


def _url_part(part: Callable[[SplitResult], str]) -> Callable[[Any], str]:
    return lambda value: part(_split_url(value["url"]))


def _hostname(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _is_sorted(values: Sequence[Any]) -> bool:
    return all(left <= right for left, right in pairwise(values))


def _find_all(text: str, pattern: str) -> list[str]:
    return [match[0] for match in re.finditer(pattern, text)]


def _find(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    return match[0] if match else ""


_T = cel.Type


def _function(
    name: str, result: Any, arguments: list[Any], implementation: Callable[..., Any], *, member: bool = True
) -> Any:
    identity = f"k8s_{name}_{len(arguments)}"
    overload = cel.Overload(identity, result, arguments, member, implementation)
    return cel.FunctionDecl(name, [overload])


def _quantity_functions() -> list[Any]:
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "isGreaterThan": lambda a, b: _number(a) > _number(b),
        "isLessThan": lambda a, b: _number(a) < _number(b),
    }
    return [
        _function("quantity", _T.DYN, [_T.STRING], _quantity, member=False),
        _function("isQuantity", _T.BOOL, [_T.STRING], lambda text: _parses(parse_quantity, text), member=False),
        *(_function(name, _T.BOOL, [_T.MAP, _T.MAP], check) for name, check in compare.items()),
        _function(
            "compareTo", _T.INT, [_T.MAP, _T.MAP], lambda a, b: (_number(a) > _number(b)) - (_number(a) < _number(b))
        ),
        _function("add", _T.DYN, [_T.MAP, _T.DYN], lambda a, b: {"quantity": format(_number(a) + _number(b), "f")}),
        _function("sub", _T.DYN, [_T.MAP, _T.DYN], lambda a, b: {"quantity": format(_number(a) - _number(b), "f")}),
        _function("sign", _T.INT, [_T.MAP], lambda a: (_number(a) > 0) - (_number(a) < 0)),
        _function("isInteger", _T.BOOL, [_T.MAP], lambda a: _number(a) == _number(a).to_integral_value()),
        _function("asInteger", _T.INT, [_T.MAP], lambda a: int(_number(a))),
        _function("asApproximateFloat", _T.DOUBLE, [_T.MAP], lambda a: float(_number(a))),
    ]


def _url_functions() -> list[Any]:
    parts: dict[str, Callable[[SplitResult], str]] = {
        "getScheme": lambda url: url.scheme,
        "getHost": lambda url: url.netloc.rpartition("@")[2],
        "getHostname": _hostname,
        "getPort": lambda url: str(url.port or ""),
        "getEscapedPath": lambda url: url.path,
    }
    return [
        _function("url", _T.DYN, [_T.STRING], _url, member=False),
        _function("isURL", _T.BOOL, [_T.STRING], lambda text: _parses(_split_url, text), member=False),
        *(_function(name, _T.STRING, [_T.MAP], _url_part(part)) for name, part in parts.items()),
        _function("isIP", _T.BOOL, [_T.STRING], lambda text: _parses(ipaddress.ip_address, text), member=False),
        _function(
            "isCIDR",
            _T.BOOL,
            [_T.STRING],
            lambda text: "/" in text and _parses(ipaddress.ip_network, text),
            member=False,
        ),
    ]


def _list_functions() -> list[Any]:
    return [
        _function("sum", _T.DYN, [_T.LIST], sum),
        _function("min", _T.DYN, [_T.LIST], min),
        _function("max", _T.DYN, [_T.LIST], max),
        _function("isSorted", _T.BOOL, [_T.LIST], _is_sorted),
        _function("find", _T.STRING, [_T.STRING, _T.STRING], _find),
        _function("findAll", _T.DYN, [_T.STRING, _T.STRING], _find_all),
    ]


def environment() -> Any:
    """A CEL environment with `self`, `oldSelf` and what Kubernetes adds to the language."""
    return cel.NewEnv(
        variables={"self": _T.DYN, "oldSelf": _T.DYN, "had__old": _T.BOOL, "old__value": _T.DYN},
        extensions=[
            ext_strings.ExtStrings(),
            ext_optional.ExtOptional(),
            ext_math.ExtMath(),
            ext_bindings.ExtBindings(),
        ],
        functions=[*_quantity_functions(), *_url_functions(), *_list_functions()],
    )
