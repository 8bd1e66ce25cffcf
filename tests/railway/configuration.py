"""The configuration of an environment as the API tells it: in the shape of a patch."""

from collections.abc import Iterable

from tests.railway.records import Config, Environment, Instance
from tests.railway.variables import mount_of

VOLUME_MEGABYTES = 50_000
ADDED = {"runtime": "V2", "ipv6EgressEnabled": False}
"""What the vendor tells of a deployment that nobody has set."""


def of_environment(
    environment: Environment, instances: Iterable[Instance], *, decrypted: bool, masked: str | None
) -> Config:
    """All of it. Where variables are not decrypted, ``masked`` stands for their values, or nothing at all."""

    def variables(config: Config) -> Config:
        return {name: each if decrypted else _hide(each, masked) for name, each in config.items()}

    shared: Config = {name: {"value": value} for name, value in environment.shared.items()}
    return {
        "services": {
            each.service.id: _service(each, variables(each.config.get("variables", {}))) for each in instances
        },
        "sharedVariables": variables(shared),
        "volumes": {
            each.volume.id: {"region": each.region, "sizeMb": VOLUME_MEGABYTES} for each in environment.mounts.values()
        },
    }


def _service(instance: Instance, variables: Config) -> Config:
    own, mount = instance.config, mount_of(instance)
    found = own | {"deploy": ADDED | own.get("deploy", {}), "variables": variables}
    if instance.domains:
        found["networking"] = {"serviceDomains": {each.domain: {"port": each.target_port} for each in instance.domains}}
    if mount is not None:
        found["volumeMounts"] = {mount.volume.id: {"mountPath": mount.path}}
    return found


def _hide(variable: Config, masked: str | None) -> Config:
    hidden = {key: value for key, value in variable.items() if key != "value"}
    return hidden if masked is None or "value" not in variable else hidden | {"value": masked}
