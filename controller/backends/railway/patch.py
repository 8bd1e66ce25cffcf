"""What Railway is told to make of an order, as one patch of its environment: pure functions."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from typing import Any

from controller.backends.pull_secrets import login_for
from controller.backends.railway.names import CONFIG, POOL, labels
from controller.backends.railway.shapes import ServiceConfig
from controller.errors import Refused
from controller.model import RailwayBackend, Template
from controller.model.quantities import cpu_cores, memory_bytes
from controller.ports import LaunchOrder

Patch = dict[str, Any]

NEVER_CHANGED = "/.agentpool/never-changed"
"""A path that no commit changes: what it watches for alone would let Railway deploy again, under a claimed agent."""
_OF_RAILWAY = "RAILWAY_"


def options_of(order: LaunchOrder) -> RailwayBackend:
    """The railway options of an order; ``Refused`` when it has none."""
    if order.backend.railway is None:
        raise Refused("UnknownBackend", "the order is not for Railway: set backend.railway")
    return order.backend.railway


def source_of(template: Template) -> dict[str, str]:
    """The image or the repository that a service is made from; ``Refused`` when the template names neither."""
    if template.image is not None:
        return {"image": template.image}
    git = template.git
    if git is None:
        raise Refused("SourceMissing", "the template names nothing to run: set template.image or template.git")
    source = {"repo": git.repo, "branch": git.branch}
    if git.commit is not None:
        source["commitSha"] = git.commit
    if git.root_directory:
        source["rootDirectory"] = git.root_directory
    return source


def labels_of(order: LaunchOrder, installation: str) -> dict[str, str]:
    """The variables by which the service is known for ours, before and after it is configured."""
    volume = order.template.volume
    on_delete = volume.on_delete if volume is not None else None
    return labels(installation, options_of(order).environment_id, order.uid, on_delete)


def variables_of(order: LaunchOrder, installation: str) -> dict[str, str]:
    """Every variable that the service gets. Holds secrets."""
    template = order.template
    variables = {
        **order.env,
        "PORT": str(template.port),
        "AGENT_BIND": "0.0.0.0",  # noqa: S104 - of the container; Railway's edge is before it
        "OPENCLAW_STATE_DIR": template.state_dir,
        **labels_of(order, installation),
        POOL: f"{order.namespace}/{order.pool}",
    }
    if template.volume is not None:
        # Volumes are mounted as root's own there, and an image's own user could not write to one.
        variables.setdefault("RAILWAY_RUN_UID", "0")
    for name, value in variables.items():
        if "\0" in value or "\0" in name or "=" in name or not name:
            raise Refused(
                "InvalidEnvironment",
                f"the environment variable {name!r} cannot be given to a program: take the NUL out of its value, or "
                "the '=' out of its name",
            )
    variables[CONFIG] = json.dumps(prints_of(variables, source_of(template)), sort_keys=True, separators=(",", ":"))
    return variables


def patch_of(order: LaunchOrder, service_id: str, variables: Mapping[str, str]) -> Patch:
    """The whole configuration of a service, all variables included: one commit of it is one deployment.

    Its volume is attached since that was made.

    What is not wanted is absent: Railway takes a null for the wish to unset.
    """
    options, template = options_of(order), order.template
    service: Patch = {
        "source": source_of(template),
        "deploy": _deploy(order, options, template),
        "variables": {name: {"value": value} for name, value in variables.items()},
    }
    if template.git is not None:
        service["build"] = {"watchPatterns": [NEVER_CHANGED]}
        if template.git.dockerfile_path is not None:
            service["build"] |= {"builder": "DOCKERFILE", "dockerfilePath": template.git.dockerfile_path}
    return {"services": {service_id: service}}


def _deploy(order: LaunchOrder, options: RailwayBackend, template: Template) -> Patch:
    deploy: Patch = {
        "restartPolicyType": "NEVER" if options.restart_policy == "Never" else "ON_FAILURE",
        "sleepApplication": options.sleep_application,
        "drainingSeconds": options.termination_grace_seconds,
    }
    if template.command:
        deploy["startCommand"] = shlex.join(template.command)
    if options.healthcheck_path is not None:
        deploy["healthcheckPath"] = options.healthcheck_path
    if options.region is not None:
        deploy["multiRegionConfig"] = {options.region: {"numReplicas": 1}}
    limits: Patch = {}
    if template.resources.cpu is not None:
        limits["cpu"] = float(cpu_cores(template.resources.cpu))
    if template.resources.memory is not None:
        limits["memoryBytes"] = memory_bytes(template.resources.memory)
    if limits:
        deploy["limitOverride"] = {"containers": limits}
    if template.image is not None and (login := login_for(template.image, order.pull_secret)) is not None:
        if "username" not in login:
            raise Refused(
                "InvalidPullSecret",
                "the Secret that imagePullSecret names holds an identity token, but Railway takes only a user and a "
                "password: make it with 'kubectl create secret docker-registry'",
            )
        deploy["registryCredentials"] = dict(login)
    return deploy


def prints_of(variables: Mapping[str, str], source: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints of variables and source, by which a later change is noticed and named."""
    kept = {name: value for name, value in variables.items() if name != CONFIG and not name.startswith(_OF_RAILWAY)}
    prints = {name: _print(f"{name}={value}") for name, value in kept.items()}
    # Which commit was built is told in other ways, and by Railway itself.
    place = {key: source[key] for key in ("image", "repo", "branch", "rootDirectory") if source.get(key)}
    return prints | {"": _print(json.dumps(place, sort_keys=True))}


def drift_of(config: ServiceConfig) -> str:
    """How a service, as its environment's configuration shows it, differs from what it was made as.

    Empty when it does not, and when that cannot be told: values that Railway hides, and fingerprints that are none.
    """
    shown = {name: each.value for name, each in config.variables.items() if each is not None}
    known = {name: value for name, value in shown.items() if value is not None}
    try:
        made = json.loads(known.get(CONFIG, ""))
    except (ValueError, RecursionError):
        return ""
    if not isinstance(made, dict) or not made:
        return ""
    now = prints_of(known, config.source)
    names = (made.keys() | now.keys()) - (shown.keys() - known.keys()) - {""}
    changed = sorted(name for name in names if made.get(name) != now.get(name))
    parts = [f"variables {', '.join(changed[:8])}{' and others' if len(changed) > 8 else ''}"] if changed else []
    if config.source and made.get("") != now[""]:
        parts.append("the source")
    return f"at Railway somebody changed {' and '.join(parts)}" if parts else ""


def _print(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
