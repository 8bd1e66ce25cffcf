"""The Pod Security Standard "restricted", as a genuine API server's admission judges a pod by it."""

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_SECCOMP = {"RuntimeDefault", "Localhost"}


def violations(pod: Spec) -> list[str]:
    """What it is refused for, in the words of the standard; nothing when it is let in."""
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    for volume in pod.get("volumes", []):
        found += [f"restricted volume types: {kind}" for kind in volume.keys() - {"name"} - _VOLUMES]
    around = pod.get("securityContext", {})
    found += list(_privileges(around))
    for container in [*pod.get("initContainers", []), *pod.get("containers", []), *pod.get("ephemeralContainers", [])]:
        found += _of_container(container, around)
    return found


def _of_container(container: Spec, around: Spec) -> Iterator[str]:
    own = container.get("securityContext", {})
    whole = {**around, **own}
    yield from _privileges(own)
    if own.get("privileged"):
        yield "privileged"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation != false"
    if whole.get("runAsNonRoot") is not True:
        yield "runAsNonRoot != true"
    if whole.get("seccompProfile", {}).get("type") not in _SECCOMP:
        yield "seccompProfile"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "unrestricted capabilities"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"


def _privileges(context: Spec) -> Iterator[str]:
    """What is forbidden in the context of a pod and of a container alike."""
    if context.get("runAsUser") == 0:
        yield "runAsUser=0"
    if context.get("sysctls"):
        yield "forbidden sysctls"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess"
    if context.get("appArmorProfile", {}).get("type") == "Unconfined":
        yield "appArmorProfile"
    if context.get("seLinuxOptions", {}).keys() & {"user", "role"}:
        yield "seLinuxOptions"
