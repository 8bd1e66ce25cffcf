"""The namespace that a kubeconfig's context, or the pod, works in by itself."""

import asyncio
from pathlib import Path
from typing import Any

from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.kube_config import list_kube_config_contexts
from yaml import YAMLError

_OF_THE_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_WITHOUT_ANY = "default"
_OF_ANOTHER_SHAPE = (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What the loader of YAML, too, stumbles into when a file is not built like a kubeconfig."""


async def own_namespace(kubeconfig: Path | None, context: str | None) -> str:
    """What ``connect`` with the same arguments works in. A kubeconfig that cannot be read has none: ``default``."""
    return await asyncio.to_thread(_read, kubeconfig, context)


def _read(kubeconfig: Path | None, context: str | None) -> str:
    if kubeconfig is None and _OF_THE_POD.exists():
        return _OF_THE_POD.read_text(encoding="utf-8").strip() or _WITHOUT_ANY
    try:
        contexts, current = list_kube_config_contexts(  # type: ignore[no-untyped-call]
            str(kubeconfig) if kubeconfig is not None else None
        )
        named: list[dict[str, Any]] = (
            [each for each in contexts if each.get("name") == context] if context else [current]
        )
        return next((str(each.get("context", {}).get("namespace") or _WITHOUT_ANY) for each in named), _WITHOUT_ANY)
    except (ConfigException, YAMLError, OSError, ValueError, *_OF_ANOTHER_SHAPE):
        # Whoever connects with it says what is wrong.
        return _WITHOUT_ANY
