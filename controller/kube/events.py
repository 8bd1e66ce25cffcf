"""Kubernetes Events."""

import uuid
from datetime import UTC, datetime
from typing import Any

from controller.model import API_VERSION
from controller.ports import Announcement

MESSAGE_LIMIT = 1024
"""What the API server accepts."""


def event_manifest(announcement: Announcement) -> dict[str, Any]:
    """A core/v1 Event about an object of ours, as ``kubectl describe`` finds it."""
    meta, now = announcement.about.metadata, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta.name}.{uuid.uuid4().hex[:16]}", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": announcement.about.kind_name,
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
        "type": announcement.type,
        "reason": announcement.reason,
        "message": announcement.message[:MESSAGE_LIMIT],
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": "agentpool"},
        "reportingComponent": "agentpool.dev/controller",
        "reportingInstance": "agentpool",
    }
