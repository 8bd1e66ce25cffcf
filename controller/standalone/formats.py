"""String formats of OpenAPI, and the ranges of its integers."""

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from urllib.parse import urlsplit

RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}

DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
HOSTNAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*"
)
EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+")
DURATION = re.compile(r"-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+|0")
UUIDS = {"uuid": None, "uuid3": 3, "uuid4": 4, "uuid5": 5}


def _raises(check: Callable[[], object]) -> bool:
    try:
        check()
    except (ValueError, binascii.Error):
        return True
    return False


def is_date_time(text: str) -> bool:
    """RFC 3339, with a zone."""
    if not DATE_TIME.fullmatch(text):
        return False
    whole = re.sub(r"\.\d+", "", text).upper().replace("Z", "+00:00")
    return not _raises(lambda: datetime.fromisoformat(whole))


def _is_uri(text: str) -> bool:
    return (
        bool(text)
        and " " not in text
        and not _raises(lambda: urlsplit(text))
        and bool(urlsplit(text).scheme or text[0] == "/")
    )


def _is_uuid(text: str, version: int | None) -> bool:
    if not re.fullmatch(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", text):
        return False
    return version is None or uuid.UUID(text).version == version


CHECKS: dict[str, Callable[[str], bool]] = {
    "date-time": is_date_time,
    "datetime": is_date_time,
    "date": lambda text: not _raises(lambda: date.fromisoformat(text)) and len(text) == 10,
    "duration": lambda text: bool(DURATION.fullmatch(text)),
    "byte": lambda text: not _raises(lambda: base64.b64decode(text, validate=True)),
    "email": lambda text: bool(EMAIL.fullmatch(text)),
    "hostname": lambda text: bool(HOSTNAME.fullmatch(text)),
    "ipv4": lambda text: not _raises(lambda: ipaddress.IPv4Address(text)),
    "ipv6": lambda text: not _raises(lambda: ipaddress.IPv6Address(text)),
    "cidr": lambda text: "/" in text and not _raises(lambda: ipaddress.ip_network(text, strict=False)),
    "mac": lambda text: bool(re.fullmatch(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}", text)),
    "uri": _is_uri,
    **{name: partial(_is_uuid, version=version) for name, version in UUIDS.items()},
}


def matches(text: str, name: str) -> bool:
    """`text` has the format; formats that Kubernetes does not check pass."""
    check = CHECKS.get(name)
    return check is None or check(text)
