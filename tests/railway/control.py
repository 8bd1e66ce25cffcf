"""What tests ask of the twin itself, over HTTP: to see all, to let things go wrong, to do what a person would do."""

import signal
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.railway.access import Access
from tests.railway.counts import Counts
from tests.railway.deployments import Deployments
from tests.railway.faults import Faults
from tests.railway.records import Deployment, Environment, Instance, Mount
from tests.railway.settings import Settings
from tests.railway.views import moment
from tests.railway.world import World

PREFIX = "/_twin/"
Answer = dict[str, Any]


class Control:
    """Routes below ``/_twin/``; see the client of the same things in ``remote.py``."""

    def __init__(
        self,
        world: World,
        access: Access,
        deployments: Deployments,
        settings: Settings,
        faults: Faults,
        counts: Counts,
    ) -> None:
        self._world = world
        self._access = access
        self._deployments = deployments
        self._settings = settings
        self._faults = faults
        self._counts = counts
        self._routes: dict[str, Callable[..., Answer]] = {
            "GET state": self.state,
            "GET faults": self._faults.describe,
            "GET counts": self._counts.describe,
            "GET boots": self.boots,
            "POST faults": self.set_faults,
            "POST once": self.once,
            "POST settings": self.set_settings,
            "POST kill": self.kill,
            "POST status": self.force,
            "POST hold": self.hold,
            "POST release": self.release,
            "POST token": self.issue,
            "POST revoke": self.revoke,
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One call: its last part, if there is one, is the id of a service."""
        name, _, service_id = request.path.removeprefix(PREFIX).partition("/")
        route = self._routes.get(f"{request.method} {name}")
        if route is None:
            return web.json_response({"error": f"there is no {request.method} {request.path}"}, status=404)
        body = await request.json() if request.body_exists else {}
        try:
            answer = route(*([service_id] if service_id else []), **body)
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(answer)

    # What there is.

    def state(self) -> Answer:
        """All projects, as they are and not as lists show them."""
        return {
            "projects": {
                project.id: {
                    "name": project.name,
                    "environments": {each.id: _environment(each) for each in project.environments.values()},
                }
                for project in self._world.projects.values()
            },
            "incompleteBoots": self.incomplete_boots(),
            "counts": self._counts.describe(),
        }

    def boots(self) -> Answer:
        """Every start of a program, with its variables."""
        return {
            "boots": [
                {
                    "serviceId": boot.service_id,
                    "deploymentId": boot.deployment_id,
                    "label": boot.label,
                    "at": moment(boot.at),
                    "reason": boot.reason,
                    "variables": dict(boot.variables),
                    "environ": dict(boot.environ),
                }
                for boot in self._counts.boots
            ]
        }

    def incomplete_boots(self) -> dict[str, list[str]]:
        """By service: variables that it had at any time, and that were missing when its program was started."""
        found: dict[str, set[str]] = {}
        had = {(each.service.id, each.environment.id): each.had_variables for each in self._world.instances()}
        for boot in self._counts.boots:
            missing = had.get((boot.service_id, boot.environment_id), set()) - boot.variables.keys()
            if missing:
                found.setdefault(boot.service_id, set()).update(missing)
        return {service_id: sorted(names) for service_id, names in found.items()}

    # What goes wrong.

    def set_faults(self, rates: dict[str, float], only: tuple[str, ...] = (), clear: bool = False) -> Answer:
        if clear:
            self._faults.clear()
        for name, rate in rates.items():
            self._faults.set(name, rate, only)
        return self._faults.describe()

    def once(self, fault: str, only: tuple[str, ...] = (), times: int = 1) -> Answer:
        self._faults.once(fault, only, times)
        return self._faults.describe()

    def set_settings(self, **values: Any) -> Answer:
        self._settings.change(values)
        return {}

    def kill(self, service_id: str, signal_number: int = signal.SIGKILL, out_of_memory: bool = False) -> Answer:
        """Signal the program of a service, in whichever environment it runs."""
        killed = [
            self._deployments.kill(each, signal_number, out_of_memory=out_of_memory)
            for each in self._instances(service_id)
        ]
        return {"killed": any(killed)}

    def force(self, service_id: str, status: str | None = None) -> Answer:
        """Show that status of the latest deployment, whatever it is; none ends that."""
        latest = [each.latest() for each in self._instances(service_id)]
        for deployment in latest:
            if deployment is not None:
                deployment.forced = status
        return {"forced": any(each is not None for each in latest)}

    def hold(self, status: str, times: int = 1) -> Answer:
        """Let the next deployments stay in a status until they are released."""
        self._deployments.ground.held += [status] * times
        return {}

    def release(self, service_id: str) -> Answer:
        for each in self._instances(service_id):
            if (latest := each.latest()) is not None:
                self._deployments.release(latest)
        return {}

    def issue(self, kind: Any, environment_id: str | None = None, read_only: bool = False) -> Answer:
        """A new token, for the workspace of the first project."""
        environment = None if environment_id is None else self._world.environment(environment_id)
        workspace_id = next(iter(self._world.projects.values())).workspace_id
        token = self._access.issue(kind, workspace_id=workspace_id, environment=environment, read_only=read_only)
        return {"token": token.value}

    def revoke(self, token: str) -> Answer:
        self._access.revoke(token)
        return {}

    def _instances(self, service_id: str) -> list[Instance]:
        found = [each for each in self._world.instances() if each.service.id == service_id]
        if not found:
            raise ValueError(f"there is no service {service_id}")
        return found


def _environment(environment: Environment) -> Answer:
    return {
        "name": environment.name,
        "services": {each.service.id: _instance(each) for each in environment.instances.values()},
        "volumes": {each.volume.id: _mount(each) for each in environment.mounts.values()},
    }


def _instance(instance: Instance) -> Answer:
    latest = instance.latest()
    return {
        "name": instance.service.name,
        "label": instance.service.label,
        "deleted": instance.deleted is not None,
        "config": instance.config,
        "domains": [each.domain for each in instance.domains],
        "latest": None if latest is None else _deployment(latest),
        "deployments": [_deployment(each) for each in instance.deployments],
    }


def _deployment(deployment: Deployment) -> Answer:
    return {
        "id": deployment.id,
        "status": deployment.shown,
        "history": deployment.history,
        "stopped": deployment.stopped,
        "machine": deployment.machine,
        "log": [line.text for line in list(deployment.log)[-20:]],
        "buildLog": [line.text for line in deployment.build_log],
    }


def _mount(mount: Mount) -> Answer:
    return {
        "name": mount.volume.name,
        "serviceId": mount.service_id,
        "attached": mount.attached,
        "path": mount.path,
    }
