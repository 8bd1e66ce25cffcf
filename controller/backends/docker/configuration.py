"""What the engine is told to make of an order: a pure function."""

from collections.abc import Mapping
from typing import Any

from controller.backends.docker.address import Address, is_loopback
from controller.backends.docker.names import (
    INSTALLATION,
    INSTANCE,
    NAMESPACE,
    ON_DELETE,
    POOL,
    PREFIX,
    TEMPLATE_HASH,
    UID,
    creation_name,
)
from controller.errors import Refused
from controller.model import DockerBackend, Template, template_hash
from controller.model.quantities import cpu_cores, memory_bytes
from controller.ports import LaunchOrder

PIDS = 1024
"""How many processes an instance may have where its template does not say."""

Configuration = dict[str, Any]


def options_of(order: LaunchOrder) -> DockerBackend:
    """The docker options of an order."""
    return order.backend.docker or DockerBackend()


def image_of(order: LaunchOrder) -> str:
    """The image that it runs. ``Refused`` when it names none."""
    if order.template.image is None:
        raise Refused("ImageMissing", "the template names no image: set template.image, which backend.docker runs")
    return order.template.image


def check_reachable(options: DockerBackend, address: Address) -> None:
    """``Refused`` when no port of a container could ever be reached from here."""
    if options.network in {"none", "host"} or options.network.startswith("container:"):
        raise Refused(
            "PortNotPublished",
            f"the network {options.network} publishes no ports: set backend.docker.network to bridge, or to one that "
            "was made with 'docker network create'",
        )
    if not address.local and is_loopback(options.publish_address):
        raise Refused(
            "PublishAddressUnreachable",
            f"the Docker engine runs on {address.host}, where {options.publish_address} is not reached from here: set "
            "backend.docker.publishAddress to an address of that host, or to 0.0.0.0",
        )


def container_configuration(order: LaunchOrder, installation: str) -> Configuration:
    """The body of ``POST /containers/create``. Holds secrets, in ``Env`` only."""
    options, template = options_of(order), order.template
    port = f"{template.port}/tcp"
    configuration: Configuration = {
        "Image": image_of(order),
        "Env": _environment(order),
        "Labels": _labels(order, installation),
        "ExposedPorts": {port: {}},
        # The operator asks the runtime itself; the image's own check would run a program every few seconds in every
        # idle container, and call a paused one unhealthy.
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": {
            "NetworkMode": options.network,
            "PortBindings": {port: [{"HostIp": options.publish_address, "HostPort": ""}]},
            "RestartPolicy": {"Name": "no"},
            "Init": options.init,
            "CapDrop": ["ALL"],
            "CapAdd": list(options.add_capabilities),
            "SecurityOpt": ["no-new-privileges:true"],
            "LogConfig": {
                "Type": "json-file",
                "Config": {"max-size": options.logs.max_size, "max-file": str(options.logs.max_files)},
            },
            "Mounts": [_state(order, installation)],
            **_root(options, template),
            **_limits(template),
        },
    }
    if template.command:
        # The whole command: the image's own entrypoint and arguments are out of the game.
        configuration["Entrypoint"] = list(template.command)
    return configuration


def _environment(order: LaunchOrder) -> list[str]:
    known = {
        "PORT": str(order.template.port),
        "AGENT_BIND": "0.0.0.0",  # noqa: S104 - of the container; who reaches it is for the published address to say
        "OPENCLAW_STATE_DIR": order.template.state_dir,
    }
    environment = {**order.env, **known}
    for name, value in environment.items():
        if "\0" in value or "\0" in name or "=" in name or not name:
            raise Refused(
                "InvalidEnvironment",
                f"the environment variable {name!r} cannot be given to a program: take the NUL out of its value, or "
                "the '=' out of its name",
            )
    return [f"{name}={value}" for name, value in environment.items()]


def _labels(order: LaunchOrder, installation: str) -> dict[str, str]:
    theirs = {key: value for key, value in options_of(order).labels.items() if not key.startswith(PREFIX)}
    return {
        **theirs,
        INSTALLATION: installation,
        UID: order.uid,
        INSTANCE: order.name,
        NAMESPACE: order.namespace,
        POOL: order.pool,
        TEMPLATE_HASH: template_hash(order.backend, order.template),
    }


def _state(order: LaunchOrder, installation: str) -> Configuration:
    """The volume for the state: named when the template wants one, else one that goes with the container.

    Both are labelled, so that what is left when a person removed the container is found.
    """
    volume = order.template.volume
    labels = _labels(order, installation) | {ON_DELETE: volume.on_delete if volume is not None else "Delete"}
    mount = {"Type": "volume", "Target": order.template.state_dir, "VolumeOptions": {"Labels": labels}}
    return mount if volume is None else {**mount, "Source": creation_name(order.uid)}


def _root(options: DockerBackend, template: Template) -> Configuration:
    if not options.read_only_root_filesystem:
        return {"ReadonlyRootfs": False}
    # Programs unpack and run things there, so it is not noexec.
    tmpfs = {} if template.state_dir.rstrip("/") == "/tmp" else {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}  # noqa: S108
    return {"ReadonlyRootfs": True, "Tmpfs": tmpfs}


def _limits(template: Template) -> Mapping[str, int]:
    resources = template.resources
    limits = {"PidsLimit": resources.pids or PIDS}
    if resources.cpu is not None:
        limits["NanoCpus"] = nano_cpus(resources.cpu)
    if resources.memory is not None:
        # Equal: no swap.
        limits["Memory"] = limits["MemorySwap"] = memory_bytes(resources.memory)
    return limits


def nano_cpus(cpu: str) -> int:
    """``500m`` or ``0.5`` in billionths of a processor."""
    return int(cpu_cores(cpu) * 10**9)
