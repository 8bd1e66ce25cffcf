"""OpenAPI v2 in protobuf, for kubectl 1.28: which patches take `fieldValidation`. Everything else it finds in v3."""

from controller.standalone.catalogue import Catalogue
from controller.standalone.kinds import Kind

# Asked for with an @ before the version, answered without: @ may not stand in a media type.
MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

# Field numbers of gnostic's openapi.v2 messages.
DOCUMENT_SWAGGER, DOCUMENT_INFO, DOCUMENT_PATHS = 1, 2, 8
INFO_TITLE, INFO_VERSION = 1, 2
PATHS_PATH, NAMED_NAME, NAMED_VALUE = 2, 1, 2
PATH_ITEM_PATCH = 8
OPERATION_PARAMETERS, OPERATION_EXTENSION = 8, 13
ITEM_PARAMETER, PARAMETER_NON_BODY, NON_BODY_QUERY = 1, 2, 3
QUERY_IN, QUERY_NAME, QUERY_TYPE = 2, 4, 6
ANY_YAML = 2


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _field(number: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _query_parameter(name: str) -> bytes:
    query = _field(QUERY_IN, "query") + _field(QUERY_NAME, name) + _field(QUERY_TYPE, "string")
    return _field(ITEM_PARAMETER, _field(PARAMETER_NON_BODY, _field(NON_BODY_QUERY, query)))


def _path(kind: Kind) -> bytes:
    gvk = f"group: {kind.group!r}\nkind: {kind.kind}\nversion: {kind.version}\n"
    extension = _field(NAMED_NAME, "x-kubernetes-group-version-kind") + _field(NAMED_VALUE, _field(ANY_YAML, gvk))
    parameters = [_field(OPERATION_PARAMETERS, _query_parameter(name)) for name in ("dryRun", "fieldValidation")]
    patch = b"".join(parameters) + _field(OPERATION_EXTENSION, extension)
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    name = f"{root}{scope}/{kind.plural}/{{name}}"
    return _field(NAMED_NAME, name) + _field(NAMED_VALUE, _field(PATH_ITEM_PATCH, patch))


def document(catalogue: Catalogue) -> bytes:
    """The document."""
    info = _field(INFO_TITLE, "agentpool standalone") + _field(INFO_VERSION, "v1")
    paths = b"".join(_field(PATHS_PATH, _path(kind)) for kind in catalogue)
    return _field(DOCUMENT_SWAGGER, "2.0") + _field(DOCUMENT_INFO, info) + _field(DOCUMENT_PATHS, paths)
