"""How to reach the API server: from a kubeconfig, or from within a cluster."""

import asyncio
import ssl
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from yaml import YAMLError

from controller.errors import Misconfigured

_OF_ANOTHER_SHAPE = (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What the loaders of YAML and of kubeconfigs stumble into when a file is not built like one."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An address and what it takes to be let in."""

    server: str
    tls: ssl.SSLContext | None
    authorization: Callable[[], Awaitable[str | None]] = field(repr=False)
    """The value of the Authorization header, renewed by whoever issues it."""


async def connect(kubeconfig: Path | None, context: str | None) -> Connection:
    """Read the kubeconfig, or the service account when there is none; ``Misconfigured`` says what is wrong with it."""
    configuration = Configuration()
    where = kubeconfig or "the default place (KUBECONFIG or ~/.kube/config)"
    try:
        if kubeconfig is None and _in_cluster():
            await asyncio.to_thread(load_incluster_config, configuration)
        else:
            path = str(kubeconfig) if kubeconfig is not None else None
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=path, context=context, client_configuration=configuration
            )
    except (ConfigException, YAMLError, OSError, ValueError, *_OF_ANOTHER_SHAPE) as error:
        told = isinstance(error, (ConfigException, YAMLError, OSError, ValueError))
        why = " ".join(str(error).split()) if told else "it is not built like a kubeconfig"
        raise Misconfigured(
            f"the kubeconfig at {where} cannot be used: {why}; name one with --kubeconfig, or start "
            "'agentpool standalone', which writes one"
        ) from None
    # Some letters of Unicode are an @ to whoever reads addresses.
    if "@" in unicodedata.normalize("NFKC", str(configuration.host)):
        # The address is in logs and in what /readyz says.
        raise Misconfigured(
            f"the kubeconfig at {where} cannot be used: the server's address holds a user or a password; put "
            "credentials under users"
        )

    async def authorization() -> str | None:
        # The loader files the bearer token under this name, and its hook renews tokens of exec plugins and files.
        token: str | None = await configuration.get_api_key_with_prefix("BearerToken")
        if token is None and configuration.username and configuration.password:
            return str(configuration.get_basic_auth_token())
        return token

    return Connection(
        server=str(configuration.host).rstrip("/"),
        tls=_tls(configuration),
        authorization=authorization,
    )


def _tls(configuration: Configuration) -> ssl.SSLContext | None:
    if not str(configuration.host).startswith("https:"):
        return None
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(f"a certificate or key of the kubeconfig cannot be read: {error}") from None
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # Private CAs of small clusters often lack the extensions that Python 3.13 began to insist on.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    return context


def _in_cluster() -> bool:
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()
