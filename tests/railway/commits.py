"""Changes of configuration: patches of a whole environment, and the older mutations for one service."""

import asyncio
import copy
from collections.abc import Mapping
from typing import Any

from tests.railway import patches, refusals
from tests.railway.counts import Counts
from tests.railway.deployments import Deployments
from tests.railway.records import Config, Environment, Instance
from tests.railway.settings import Settings
from tests.railway.world import World

SOURCE_FIELDS = frozenset({"rootDirectory"})
BUILD_FIELDS = frozenset({"buildCommand", "builder", "dockerfilePath", "nixpacksPlan", "watchPatterns"})


class Commits:
    """Applies changes, and deploys what they change."""

    def __init__(self, world: World, deployments: Deployments, settings: Settings, counts: Counts) -> None:
        self._world = world
        self._deployments = deployments
        self._settings = settings
        self._counts = counts

    async def commit(self, environment: Environment, patch: Mapping[str, Any]) -> str:
        """Apply a patch that was checked; every service that it changes and that has a source is deployed once."""
        parts: Mapping[str, Any] = patch.get("services") or {}
        touched = {service_id: self._world.instance(service_id, environment) for service_id in parts}
        if environment.commits:
            self._counts.concurrent_commits += 1
            if self._settings.concurrent_commits == "fail":
                raise refusals.another_commit()
        before = {each: copy.deepcopy(each.config) for each in environment.instances.values() if each.deleted is None}
        environment.commits, applied = environment.commits + 1, environment.applied
        try:
            await asyncio.sleep(self._settings.committing)
        finally:
            environment.commits -= 1
        if self._settings.concurrent_commits == "lose" and environment.applied != applied:
            # All is written back as it was read when the commit began: what another one did meanwhile is undone.
            for instance, config in before.items():
                instance.config = config
        environment.applied += 1
        self._merge_environment(environment, patch)
        for service_id, part in parts.items():
            if touched[service_id].deleted is None:
                self._merge(touched[service_id], part or {})
        return self._world.new_id()

    def update(self, instance: Instance, values: Mapping[str, Any]) -> None:
        """``serviceInstanceUpdate``: it deploys nothing, unless that is what this Railway does."""
        part: Config = {}
        for name, value in values.items():
            if name == "source":
                part["source"] = {**part.get("source", {}), **(value or {})}
            elif name == "region":
                region = {"multiRegionConfig": {value: {"numReplicas": values.get("numReplicas", 1)}}}
                part.setdefault("deploy", {}).update(region)
            elif name == "railwayConfigFile":
                part["configFile"] = value
            else:
                where = "source" if name in SOURCE_FIELDS else "build" if name in BUILD_FIELDS else "deploy"
                part.setdefault(where, {})[name] = value
        self._apply(instance, part)
        if self._settings.update_deploys and values.get("source"):
            self._deploy(instance)

    def set_variables(self, instance: Instance, values: Mapping[str, Any], *, replace: bool, deploy: bool) -> None:
        """Set variables of a service; with ``replace`` all others are taken away."""
        before = instance.config.get("variables", {})
        gone = {name: None for name in before if replace and name not in values}
        self._apply(instance, {"variables": gone | {name: {"value": str(value)} for name, value in values.items()}})
        if deploy and before != instance.config.get("variables", {}):
            self._deploy(instance)

    def delete(self, instance: Instance, environment: Environment | None) -> None:
        """Delete a service, and end what runs."""
        for each in self._world.delete_instances(instance.service, environment):
            self._deployments.remove_all(each)

    def _merge_environment(self, environment: Environment, patch: Mapping[str, Any]) -> None:
        for name, variable in (patch.get("sharedVariables") or {}).items():
            if variable is None:
                environment.shared.pop(name, None)
            else:
                environment.shared[name] = variable.get("value") or ""
        for volume_id, part in (patch.get("volumes") or {}).items():
            mount = environment.mounts.get(volume_id)
            if mount is not None and part is not None and part.get("isDeleted"):
                self._world.delete_volume(mount.volume)

    def _merge(self, instance: Instance, part: Mapping[str, Any]) -> None:
        before = instance.config
        if part.get("isDeleted"):
            self.delete(instance, instance.environment)
            return
        moved = self._move_volumes(instance, part.get("volumeMounts") or {})
        domains = (part.get("networking") or {}).get("serviceDomains") or {}
        for domain in instance.domains:
            if domain.domain in domains:
                domain.target_port = (domains[domain.domain] or {}).get("port")
        self._apply(instance, part)
        if moved or instance.config != before:
            self._deploy(instance)

    def _move_volumes(self, instance: Instance, mounts: Mapping[str, Any]) -> bool:
        moved = False
        for volume_id, wanted in mounts.items():
            mount = instance.environment.mounts.get(volume_id)
            if mount is None:
                raise refusals.refusal("Volume not found")
            state = (mount.attached, mount.service_id, mount.path)
            if wanted is None:
                self._world.detach(mount)
            else:
                mount.attached, mount.service_id = True, instance.service.id
                mount.path = wanted.get("mountPath") or mount.path
            moved = moved or state != (mount.attached, mount.service_id, mount.path)
        return moved

    def _apply(self, instance: Instance, part: Mapping[str, Any]) -> None:
        instance.config = patches.merge_service(instance.config, part)
        instance.updated = self._world.now()
        variables = part.get("variables") or {}
        taken = {name for name, value in variables.items() if value is None}
        instance.had_variables = (instance.had_variables | variables.keys()) - taken

    def _deploy(self, instance: Instance) -> None:
        source = instance.config.get("source", {})
        if source.get("image") or source.get("repo"):
            self._deployments.deploy(instance)
