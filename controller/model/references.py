"""References to Secrets and ConfigMaps in the same namespace."""

from typing import Annotated

from pydantic import Field

from controller.model.meta import Schema


class SecretKeyRef(Schema):
    """One key of a Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the Secret, in the namespace of the pool or claim."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key within it."""


class ConfigMapKeyRef(Schema):
    """One key of a ConfigMap in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the ConfigMap, in the namespace of the claim."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key within it."""


class SecretName(Schema):
    """A Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Its name."""
