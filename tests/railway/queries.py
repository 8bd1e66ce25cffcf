"""What can be asked."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.railway import refusals
from tests.railway.access import Access, Info
from tests.railway.records import Deployment, Line
from tests.railway.variables import rendered, unrendered
from tests.railway.views import View, Views
from tests.railway.world import World

LOG_DEFAULT = 100
LOG_MOST = 5000


class Queries:
    """One method for each field of the type Query, in the words of Python."""

    def __init__(self, world: World, access: Access, views: Views) -> None:
        self._world = world
        self._access = access
        self._views = views

    def build_logs(self, info: Info, **options: Any) -> list[View]:
        deployment = self._deployment(info, options.pop("deploymentId"))
        return self._lines(deployment, list(deployment.build_log), **options)

    def deployment(self, info: Info, id: str) -> View:  # noqa: A002 - the schema's word
        return self._views.deployment(self._deployment(info, id))

    def deployment_logs(self, info: Info, **options: Any) -> list[View]:
        deployment = self._deployment(info, options.pop("deploymentId"))
        return self._lines(deployment, list(deployment.log), **options)

    def deployments(self, info: Info, input: Mapping[str, Any], **page: Any) -> View:  # noqa: A002
        environment = self._access.environment(info.context, input.get("environmentId") or "")
        found = [
            each
            for instance in self._world.listed(environment)
            for each in instance.deployments
            if input.get("serviceId") in {None, instance.service.id}
        ]
        status = input.get("status") or {}
        if (wanted := status.get("in")) is not None:
            found = [each for each in found if each.shown in wanted]
        if (unwanted := status.get("notIn")) is not None:
            found = [each for each in found if each.shown not in unwanted]
        return self._views.page(found, self._views.deployment, page)

    def environment(self, info: Info, id: str, projectId: str | None = None) -> View:  # noqa: A002, N803
        return self._views.environment(self._access.environment(info.context, id, projectId))

    def environments(self, info: Info, projectId: str, **options: Any) -> View:  # noqa: N803
        project, ephemeral = self._access.project(info.context, projectId), options.pop("isEphemeral", None)
        found = project.environments.values()
        wanted = [each for each in found if ephemeral in {None, each.source is not None}]
        return self._views.page(wanted, self._views.environment, options)

    def me(self, info: Info) -> View:
        token = info.context
        if token.kind != "Account":
            raise refusals.not_authorized()
        project = next(each for each in self._world.projects.values() if each.workspace_id == token.workspace_id)
        workspace = {"id": project.workspace_id, "name": project.workspace_name}
        return {"id": token.id, "email": "ada@example.com", "name": "Ada", "workspaces": [workspace]}

    def project(self, info: Info, id: str) -> View:  # noqa: A002
        return self._views.project(self._access.project(info.context, id))

    def project_token(self, info: Info) -> View:
        token = info.context
        if token.kind != "Project":
            raise refusals.not_authorized()
        return self._views.token(token)

    def service(self, info: Info, id: str) -> View:  # noqa: A002
        return self._views.service(self._access.service(info.context, id))

    def service_instance(self, info: Info, serviceId: str, environmentId: str) -> View:  # noqa: N803
        return self._views.instance(self._access.instance(info.context, serviceId, environmentId))

    def variables(
        self,
        info: Info,
        environmentId: str,  # noqa: N803
        projectId: str,  # noqa: N803
        serviceId: str | None = None,  # noqa: N803
        unrendered: bool = False,
    ) -> dict[str, str]:
        environment = self._access.environment(info.context, environmentId, projectId)
        if serviceId is None:
            return dict(environment.shared)
        instance = self._access.instance(info.context, serviceId, environmentId)
        return _raw(instance) if unrendered else rendered(instance)

    def variables_for_service_deployment(
        self,
        info: Info,
        environmentId: str,  # noqa: N803
        projectId: str,  # noqa: N803
        serviceId: str,  # noqa: N803
    ) -> dict[str, str]:
        return self.variables(info, environmentId, projectId, serviceId)

    def _deployment(self, info: Info, deployment_id: str) -> Deployment:
        for instance in self._world.instances():
            for each in instance.deployments:
                if each.id == deployment_id:
                    self._access.environment(info.context, instance.environment.id)
                    return each
        raise refusals.no_deployment()

    def _lines(
        self,
        deployment: Deployment,
        lines: list[Line],
        limit: int | None = None,
        filter: str | None = None,  # noqa: A002
        startDate: str | None = None,  # noqa: N803
        endDate: str | None = None,  # noqa: N803
    ) -> list[View]:
        found = [each for each in lines if filter is None or filter in each.text]
        found = [each for each in found if startDate is None or each.at >= _seconds(startDate)]
        found = [each for each in found if endDate is None or each.at <= _seconds(endDate)]
        count = min(LOG_MOST, LOG_DEFAULT if limit is None else limit)
        return [self._views.line(each, deployment) for each in found[len(found) - min(count, len(found)) :]]


_raw = unrendered


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        raise refusals.invalid("Invalid DateTime") from None
