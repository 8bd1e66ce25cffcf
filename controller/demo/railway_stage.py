"""Where the demo plays when it plays on Railway: an environment that one names, or a twin of Railway on this host."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx
import yaml

from controller.backends.railway.address import read_address
from controller.backends.railway.documents import DOCUMENTS
from controller.demo.api import Api
from controller.demo.viewers import aligned, read_manifest
from controller.errors import AgentpoolError

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "manifests" / "samples" / "railway" / "pool.yaml"
_TWIN_IMAGE = "agentpool-agent:loopback"
"""Any name will do: the twin runs this checkout's agent."""
_TWIN_SECONDS = 60.0
_REAL_SECONDS = 1800.0
_ASK_SECONDS = 30.0
_NEEDED = ("RAILWAY_TOKEN", "RAILWAY_PROJECT_ID", "RAILWAY_ENVIRONMENT_ID")


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """An environment, and how to get in."""

    token: str = field(repr=False)
    token_type: str
    plan: str
    project_id: str
    environment_id: str
    env: Mapping[str, str]
    """What the operator is told of where Railway is."""


class RailwayStage:
    """A pool in one environment. With RAILWAY_TOKEN and ids set it is the real Railway, which costs money."""

    remnant = "process, service or volume"

    def __init__(self, folder: Path, image: str | None) -> None:
        self._folder = folder
        self._image = image
        self._twin: subprocess.Popen[str] | None = None
        self._where: Whereabouts | None = None
        self._seen: set[str] = set()

    @property
    def patience(self) -> float:
        """Seconds within which anything comes about."""
        return _TWIN_SECONDS if self._twin is not None else _REAL_SECONDS

    def prepare(self) -> str:
        """Start the twin, unless the real Railway is named."""
        given = {name: os.environ.get(name, "").strip() for name in _NEEDED}
        if not any(given.values()):
            self._where = self._start_twin()
            return f"instances are services of a twin of Railway on this host, {self._where.env['RAILWAY_API_URL']}"
        if missing := [name for name, value in given.items() if not value]:
            raise AgentpoolError(f"to play on the real Railway, {' and '.join(missing)} must be set, too")
        if self._image is None:
            raise AgentpoolError("to play on the real Railway, name the agent image that it shall run: IMAGE=...")
        kind, plan = os.environ.get("RAILWAY_TOKEN_TYPE", "Project"), os.environ.get("RAILWAY_PLAN", "Hobby")
        token, project_id, environment_id = given.values()
        self._where = Whereabouts(token, kind, plan, project_id, environment_id, env={})
        return f"instances are services of environment {self._where.environment_id} at Railway"

    def env(self) -> Mapping[str, str]:
        """What the operator needs in its environment."""
        return self._place.env

    def furnish(self, api: Api) -> None:
        """The Secret with the token."""
        api.create_secret("railway", {"token": self._place.token})

    def pool(self) -> Path:
        """The sample, with the ids of the environment and an image."""
        manifest: dict[str, Any] = read_manifest(SAMPLE)
        where, spec = self._place, manifest["spec"]
        spec["backend"]["railway"] |= {
            "projectId": where.project_id,
            "environmentId": where.environment_id,
            "tokenType": where.token_type,
            "plan": where.plan,
        }
        template = spec["template"]
        for field_of_somebody_else in ("git", "env"):
            template.pop(field_of_somebody_else, None)
        template["image"] = self._image or _TWIN_IMAGE
        path = self._folder / "pool.yaml"
        path.write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")
        return path

    def show(self, api: Api) -> None:
        """The services of the pool as Railway lists them: the claimed one bears the name of its agent."""
        ours = {each.get("status", {}).get("backendId") for each in api.all("agentinstances")}
        self._seen |= {each for each in ours if each}
        rows = [("SERVICE", "STATUS", "DOMAIN")]
        for service in self._services():
            if service["serviceId"] in ours:
                domains = service["domains"]["serviceDomains"]
                deployment = service["latestDeployment"] or {}
                rows.append(
                    (service["serviceName"], deployment.get("status", ""), domains[0]["domain"] if domains else "")
                )
        click.echo("\nservices at Railway:")
        for line in aligned(rows):
            click.echo(line)

    def remains(self) -> list[str]:
        """Services of the pool that still exist; at the twin, where nobody else is, services and volumes of anybody."""
        if self._where is None:
            return []
        environment = self._environment()
        services = [each["node"] for each in environment["serviceInstances"]["edges"]]
        volumes = [each["node"] for each in environment["volumeInstances"]["edges"]] if self._twin is not None else []
        left = [each["serviceName"] for each in services if self._twin is not None or each["serviceId"] in self._seen]
        return [*left, *(each["volume"]["name"] for each in volumes)]

    def clear(self) -> None:
        """Stop the twin, and with it all that runs there."""
        if self._twin is None:
            return
        self._twin.terminate()
        try:
            self._twin.wait(_ASK_SECONDS)
        except subprocess.TimeoutExpired:
            self._twin.kill()
            self._twin.wait()

    @property
    def _place(self) -> Whereabouts:
        if self._where is None:
            raise AgentpoolError("the stage was not prepared")
        return self._where

    def _start_twin(self) -> Whereabouts:
        if not (ROOT / "tests" / "railway" / "__main__.py").exists():
            raise AgentpoolError("the twin of Railway is in a checkout only: run the demo from one")
        command = [sys.executable, "-m", "tests.railway", "--state-dir", str(self._folder / "twin"), "--plan", "Pro"]
        log = (self._folder / "twin.log").open("w", encoding="utf-8")
        with log:
            self._twin = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        output = self._twin.stdout
        line = output.readline() if output is not None and select.select([output], [], [], _TWIN_SECONDS)[0] else ""
        if not line:
            raise AgentpoolError(f"the twin of Railway did not start: see {log.name}")
        told = json.loads(line)
        return Whereabouts(
            token=told["project_tokens"]["dev"],
            token_type="Project",  # noqa: S106 - a kind, not a token
            plan="Pro",
            project_id=told["project_id"],
            environment_id=told["environments"]["dev"],
            env={"RAILWAY_API_URL": told["url"], "RAILWAY_EDGE_URL": told["edge_url"]},
        )

    def _services(self) -> Sequence[Mapping[str, Any]]:
        return [edge["node"] for edge in self._environment()["serviceInstances"]["edges"]]

    def _environment(self) -> Mapping[str, Any]:
        where = self._place
        is_project_token = where.token_type == "Project"  # noqa: S105 - a kind, not a token
        headers = (
            {"Project-Access-Token": where.token} if is_project_token else {"Authorization": f"Bearer {where.token}"}
        )
        body = {
            "query": DOCUMENTS["Environment"].text,
            "operationName": "Environment",
            "variables": {"id": where.environment_id, "projectId": where.project_id, "first": 500},
        }
        url = read_address({**os.environ, **where.env}).api
        try:
            answer = httpx.post(
                url, params={"source": "agentpool"}, json=body, headers=headers, timeout=_ASK_SECONDS
            ).json()
            environment: Mapping[str, Any] = answer["data"]["environment"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            raise AgentpoolError(f"Railway at {url} does not show the environment: see the token and the ids") from None
        return environment
