"""Who may see and do what: tokens, and what each of them opens."""

import random
from collections.abc import Mapping
from typing import Literal

from graphql import GraphQLError, GraphQLResolveInfo

from tests.railway import refusals
from tests.railway.records import Environment, Instance, Project, Service, Token, Volume
from tests.railway.settings import Settings
from tests.railway.world import World

Info = GraphQLResolveInfo[Token]
"""What a resolver is told: the context of a request is the token that came with it."""
TokenKind = Literal["Project", "Account", "Workspace"]
PROJECT_HEADER = "Project-Access-Token"
BEARER = "Bearer "


class Access:
    """The tokens, and the doors."""

    def __init__(self, seed: int, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._tokens: dict[str, Token] = {}
        self._dice = random.Random(f"{seed}:tokens")

    def issue(
        self,
        kind: TokenKind,
        *,
        workspace_id: str,
        environment: Environment | None = None,
        read_only: bool = False,
    ) -> Token:
        """A new token; one of kind Project is for one environment."""
        project = None if environment is None else environment.project
        value = f"{self._dice.getrandbits(128):032x}"
        token = Token(value, self._world.new_id(), kind, project, environment, workspace_id, read_only)
        self._tokens[value] = token
        return token

    def revoke(self, value: str) -> None:
        """It opens nothing any more."""
        self._tokens.pop(value, None)

    def identify(self, headers: Mapping[str, str]) -> Token | None:
        """Whose request it is. A token in the header of the other kind is none."""
        if (value := headers.get(PROJECT_HEADER)) is not None:
            token = self._tokens.get(value)
            return token if token is not None and token.kind == "Project" else None
        authorization = headers.get("Authorization", "")
        if not authorization.startswith(BEARER):
            return None
        token = self._tokens.get(authorization.removeprefix(BEARER))
        return token if token is not None and token.kind != "Project" else None

    def project(self, token: Token, project_id: str) -> Project:
        found = self._world.projects.get(project_id)
        if found is None:
            raise self._missing("Project")
        if token.workspace_id != found.workspace_id or (token.kind == "Project" and token.project is not found):
            raise refusals.not_authorized()
        return found

    def environment(self, token: Token, environment_id: str, project_id: str | None = None) -> Environment:
        """An environment, of that project if one is named."""
        found = self._world.environment(environment_id)
        if found is None:
            raise self._missing("Environment")
        self.project(token, found.project.id)
        if token.kind == "Project" and token.environment is not found:
            raise refusals.not_authorized()
        if project_id is not None and self.project(token, project_id) is not found.project:
            raise self._missing("Environment")
        return found

    def service(self, token: Token, service_id: str) -> Service:
        found = self._world.service(service_id)
        if found is None:
            raise self._missing("Service")
        self.project(token, found.project.id)
        if token.environment is not None and found.id not in token.environment.instances:
            raise refusals.not_authorized()
        return found

    def instance(self, token: Token, service_id: str, environment_id: str) -> Instance:
        """A service in an environment, once it can be seen."""
        return self._world.instance(service_id, self.environment(token, environment_id))

    def volume(self, token: Token, volume_id: str) -> Volume:
        found = self._world.volume(volume_id)
        if found is None:
            raise self._missing("Volume")
        self.project(token, found.project.id)
        if token.environment is not None and found.id not in token.environment.mounts:
            raise refusals.not_authorized()
        return found

    def _missing(self, what: str) -> GraphQLError:
        if self._settings.unknown_ids == "unauthorized":
            return refusals.not_authorized()
        return refusals.refusal(f"{what} not found")
