"""The variables of a service: its own, the vendor's, and what its process on this host gets."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.railway.programs import Program, minimal_path
from tests.railway.records import Config, Deployment, Instance, Mount

DEFAULT_PORT = "8080"
REFERENCE = re.compile(r"\$\{\{\s*([^}]+?)\s*\}\}")
BINDS = ("AGENT_BIND", "HOST")
LOCALE = {"LANG": "C.UTF-8"}


def own(config: Config) -> dict[str, str]:
    """What was set by hand."""
    return {name: each["value"] for name, each in config.get("variables", {}).items() if "value" in each}


def mount_of(instance: Instance) -> Mount | None:
    """The volume of a service in its environment."""
    mounts = instance.environment.mounts.values()
    return next((each for each in mounts if each.attached and each.service_id == instance.service.id), None)


def of_railway(instance: Instance) -> dict[str, str]:
    """What the vendor adds, as far as it does not depend on a deployment."""
    service, environment = instance.service, instance.environment
    found = {
        "RAILWAY_ENVIRONMENT": environment.name,
        "RAILWAY_ENVIRONMENT_ID": environment.id,
        "RAILWAY_ENVIRONMENT_NAME": environment.name,
        "RAILWAY_PRIVATE_DOMAIN": f"{service.name}.railway.internal",
        "RAILWAY_PROJECT_ID": environment.project.id,
        "RAILWAY_PROJECT_NAME": environment.project.name,
        "RAILWAY_SERVICE_ID": service.id,
        "RAILWAY_SERVICE_NAME": service.name,
    }
    if instance.domains:
        domain = instance.domains[0].domain
        found |= {"RAILWAY_PUBLIC_DOMAIN": domain, "RAILWAY_STATIC_URL": domain}
    if (mount := mount_of(instance)) is not None:
        found |= {"RAILWAY_VOLUME_NAME": mount.volume.name, "RAILWAY_VOLUME_MOUNT_PATH": mount.path}
    return found


def rendered(instance: Instance) -> dict[str, str]:
    """All of a service, with references resolved; one to nothing becomes empty."""
    raw = unrendered(instance)
    return {name: _render(value, raw, instance) for name, value in raw.items()}


def unrendered(instance: Instance) -> dict[str, str]:
    """All of a service as they were set."""
    return own(instance.config) | of_railway(instance)


def at_boot(deployment: Deployment, replica: str) -> dict[str, str]:
    """All that the vendor gives to the program."""
    instance = deployment.instance
    raw = own(deployment.config) | of_railway(instance)
    found = {name: _render(value, raw, instance) for name, value in raw.items()}
    source = deployment.config.get("source", {})
    found |= {
        "RAILWAY_DEPLOYMENT_ID": deployment.id,
        "RAILWAY_REPLICA_ID": replica,
        "RAILWAY_SNAPSHOT_ID": deployment.id,
    }
    if "image" not in source:
        owner, _, name = source["repo"].partition("/")
        found |= {
            "RAILWAY_GIT_BRANCH": source.get("branch", "main"),
            "RAILWAY_GIT_COMMIT_SHA": source.get("commitSha", "0" * 40),
            "RAILWAY_GIT_REPO_NAME": name,
            "RAILWAY_GIT_REPO_OWNER": owner,
        }
    return {"PORT": DEFAULT_PORT} | found


def on_host(
    variables: Mapping[str, str], program: Program, *, port: int, home: Path, volume: Path | None
) -> dict[str, str]:
    """The same for a process on this host: ports and directories are others than in a container."""
    environ = LOCALE | dict(program.env) | dict(variables)
    environ |= {"PATH": minimal_path(), "PORT": str(port), "HOME": str(home), "OPENCLAW_STATE_DIR": str(home / "state")}
    # A container has its network for itself; here, all addresses would be those of the whole host.
    environ |= {name: "127.0.0.1" for name in BINDS if name in variables}
    if volume is None:
        return environ
    path = Path(variables["RAILWAY_VOLUME_MOUNT_PATH"])
    for name in ("RAILWAY_VOLUME_MOUNT_PATH", "AGENT_VOLUME", "OPENCLAW_STATE_DIR"):
        if name in variables and Path(variables[name]).is_relative_to(path):
            environ[name] = str(volume / Path(variables[name]).relative_to(path))
    return environ


def _render(value: str, own: Mapping[str, str], instance: Instance) -> str:
    def resolve(found: re.Match[str]) -> str:
        scope, dot, name = found[1].rpartition(".")
        if not dot:
            return own.get(name, "")
        if scope == "shared":
            return instance.environment.shared.get(name, "")
        others = (each for each in instance.environment.instances.values() if each.deleted is None)
        other = next((each for each in others if each.service.name == scope), None)
        return "" if other is None else unrendered(other).get(name, "")

    return REFERENCE.sub(resolve, value)
