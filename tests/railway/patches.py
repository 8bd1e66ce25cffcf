"""Patches of an environment's configuration: what may be in one, and what it changes."""

import copy
from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError

from tests.railway.records import Config
from tests.railway.refusals import invalid

Shape = Mapping[str, Any] | type | tuple[type, ...]
ANY_KEY = "*"
NUMBER = (int, float)
ANYTHING = (object,)

SOURCE: Shape = {
    "image": str,
    "repo": str,
    "branch": str,
    "commitSha": str,
    "upstreamUrl": str,
    "rootDirectory": str,
    "checkSuites": bool,
    "autoUpdates": ANYTHING,
}
BUILD: Shape = {
    "builder": str,
    "buildCommand": str,
    "buildEnvironment": str,
    "dockerfilePath": str,
    "watchPatterns": list,
    "nixpacksConfigPath": str,
    "nixpacksPlan": ANYTHING,
    "nixpacksVersion": str,
    "railpackVersion": str,
}
DEPLOY: Shape = {
    "startCommand": str,
    "preDeployCommand": ANYTHING,
    "healthcheckPath": str,
    "healthcheckTimeout": int,
    "ipv6EgressEnabled": bool,
    "numReplicas": int,
    "multiRegionConfig": {ANY_KEY: {"numReplicas": int}},
    "cronSchedule": str,
    "restartPolicyType": str,
    "restartPolicyMaxRetries": int,
    "sleepApplication": bool,
    "registryCredentials": {"username": str, "password": str},
    "limitOverride": {"containers": {"cpu": NUMBER, "memoryBytes": int, "diskBytes": int}},
    "requiredMountPath": str,
    "overlapSeconds": int,
    "drainingSeconds": int,
}
VARIABLE: Shape = {
    "value": str,
    "defaultValue": str,
    "description": str,
    "isOptional": bool,
    "isSealed": bool,
    "generator": str,
}
SERVICE: Shape = {
    "source": SOURCE,
    "networking": {"serviceDomains": {ANY_KEY: {"port": int}}},
    "variables": {ANY_KEY: VARIABLE},
    "configFile": str,
    "deploy": DEPLOY,
    "build": BUILD,
    "volumeMounts": {ANY_KEY: {"mountPath": str, "backupSchedules": list}},
    "isDeleted": bool,
    "isCreated": bool,
    "parentServiceId": str,
    "groupId": str,
}
PATCH: Shape = {
    "services": {ANY_KEY: SERVICE},
    "sharedVariables": {ANY_KEY: VARIABLE},
    "volumes": {ANY_KEY: {"isDeleted": bool, "sizeMb": int, "region": str}},
    "privateNetworkDisabled": bool,
}
CHOICES: Mapping[str, frozenset[str]] = {
    "restartPolicyType": frozenset({"ALWAYS", "NEVER", "ON_FAILURE"}),
    "builder": frozenset({"DOCKERFILE", "HEROKU", "NIXPACKS", "PAKETO", "RAILPACK"}),
}
UNKEPT = frozenset({"isCreated", "isDeleted", "networking", "volumeMounts"})
"""Parts of a patch that are kept elsewhere than in the configuration of a service."""


def check(patch: object, shape: Shape = PATCH, where: str = "patch") -> None:
    """Refuse what the vendor would not understand. Null stands for "unset" anywhere below the patch itself."""
    if isinstance(shape, Mapping):
        if not isinstance(patch, Mapping):
            raise _senseless(where, "an object is expected")
        for key, value in patch.items():
            inner = shape.get(key, shape.get(ANY_KEY))
            if inner is None:
                raise _senseless(where, f'the key "{key}" is not known')
            if key in CHOICES and value is not None and value not in CHOICES[key]:
                raise _senseless(f"{where}.{key}", f"one of {', '.join(sorted(CHOICES[key]))} is expected")
            if value is not None:
                check(value, inner, f"{where}.{key}")
    elif not isinstance(patch, shape) or (isinstance(patch, bool) and shape in {int, NUMBER}):
        raise _senseless(where, "the value has a wrong type")


def merge(config: Config, patch: Mapping[str, Any]) -> Config:
    """A new configuration: null unsets, what is absent stays, objects are merged."""
    merged = copy.deepcopy(config)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = merge(merged.get(key, {}), value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def merge_service(config: Config, patch: Mapping[str, Any]) -> Config:
    """The configuration of a service with its part of a patch."""
    return merge(config, {key: value for key, value in patch.items() if key not in UNKEPT})


def _senseless(where: str, what: str) -> GraphQLError:
    return invalid(f"Invalid environment config at {where}: {what}")
