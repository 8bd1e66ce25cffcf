"""What the engine answers, sorted into what a controller does about it."""

import re
import ssl
from pathlib import Path

import aiohttp
from aiodocker import DockerError

from controller.backends.docker.address import Address
from controller.errors import AgentpoolError, Missing, Refused, Transient


class Unreachable(Transient):
    """No answer: nothing, something, or all of what was asked may have happened."""


class Silent(Unreachable):
    """A stream brought nothing for too long."""


def why_unreachable(address: Address, error: BaseException) -> str:
    """One sentence on why there was no answer, and what to do."""
    name = f"the Docker engine at {address.text}"
    # What the operating system or TLS said is at the end of the chain.
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        inner = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else None
        cause = inner or cause.__cause__ or cause.__context__
    for each in chain:
        if sentence := _of_tls(name, each) or _of_the_way(address, name, each):
            return sentence
    return f"{name} broke off the connection ({error or type(error).__name__}): see that it runs"


def _of_tls(name: str, error: BaseException) -> str | None:
    if isinstance(error, aiohttp.ClientError):
        # It wraps the one that says more.
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{name} shows a certificate that ca.pem in DOCKER_CERT_PATH does not vouch for: {error.verify_message}"
    if not isinstance(error, ssl.SSLError):
        return None
    if "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER" in str(error):
        return f"{name} speaks no TLS there: unset DOCKER_TLS_VERIFY, or correct the port in DOCKER_HOST"
    return f"{name} did not accept cert.pem in DOCKER_CERT_PATH ({error.reason or 'TLS failed'})"


def _of_the_way(address: Address, name: str, error: BaseException) -> str | None:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the host of {name} has no address: correct DOCKER_HOST"
    if isinstance(error, PermissionError) and address.socket is not None:
        return (
            f"{name} may not be used by this user: let the operator run with the group that owns {address.socket} "
            f"({_group(address.socket)})"
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError | ConnectionRefusedError):
        return f"{name} does not answer: start it, or set DOCKER_HOST"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"{name} does not answer: start it, open the way to it, or set DOCKER_HOST"
    if type(error) is OSError:
        return f"{name} does not answer ({error.strerror or error}): start it, or set DOCKER_HOST"
    return None


def _group(socket: str) -> str:
    try:
        return f"usually docker; here {Path(socket).group()}"
    except (OSError, KeyError):
        return "usually docker"


_OF_A_REGISTRY: tuple[tuple[str, str, str], ...] = (
    # What the engine says, the reason, the sentence.
    (
        r"no space left on device|disk quota exceeded",
        "EngineDiskFull",
        "the disk of the Docker engine is full: free space there, for example with 'docker system prune'",
    ),
    (
        r"invalid reference format|invalid tag format|repository name must be|invalid checksum digest"
        r"|invalid repository",
        "InvalidImageReference",
        "{what} is no name of an image: correct it",
    ),
    (
        r"unauthorized|authentication required|no basic auth|denied|forbidden|\b40[13]\b|incorrect username",
        "ImagePullDenied",
        "the registry of {what} wants other credentials, or has no such repository: correct template.image, or give "
        "the pool an imagePullSecret that may pull it",
    ),
    (
        r"manifest unknown|not found|does not exist|name unknown|no such image|no matching manifest",
        "ImageNotFound",
        "the registry has no image {what} for this engine: correct template.image, or push it",
    ),
)

_OF_A_CONTAINER: tuple[tuple[str, str, str], ...] = (
    (
        # Seen of Docker 20.10. Made anew under the same uid, the instance would run twice.
        r"id already in use|failed to start shim: mkdir .*file exists",
        "EngineLostContainer",
        "the engine was killed while it started the container, and knows no more that it runs: a process of it may be "
        "left on the engine's host until that is restarted",
    ),
    *_OF_A_REGISTRY[:2],
    (
        r"network .*not found|could not find .*network|network-scoped alias|no such network",
        "NetworkNotFound",
        "the engine lacks the pool's network: create it with 'docker network create', or correct "
        "backend.docker.network",
    ),
    (
        r"no such image",
        "ImageNotFound",
        "the engine no longer has the image: it is fetched anew unless backend.docker.pullPolicy is Never",
    ),
    (
        r"minimum memory limit|memory limit|memory.*too low|cannot allocate memory.*container init",
        "MemoryTooLow",
        "the engine does not run a container in that little memory: raise template.resources.memory",
    ),
    (
        r"range of cpus|cpu.*(invalid|must be|can not|cannot)|nanocpus",
        "InvalidContainer",
        "the engine's host has fewer processors than template.resources.cpu: lower it",
    ),
    (
        r"executable file not found|no such file or directory: unknown|stat .*no such file or directory"
        r"|no command specified",
        "InvalidContainer",
        "the image has no such program: correct template.command, or the image's entrypoint",
    ),
    (
        r"permission denied|is a directory|exec format error",
        "InvalidContainer",
        "the program of the image cannot be executed: correct template.command, or make the file executable",
    ),
    (
        r"capabilit(y|ies)|capadd",
        "InvalidContainer",
        "the engine does not know one of the capabilities: correct backend.docker.addCapabilities",
    ),
    (
        r"cannot assign requested address|invalid ip address|invalid hostip|invalid host ip",
        "PortNotPublished",
        "the engine's host cannot publish ports there: correct backend.docker.publishAddress",
    ),
)


def sort(error: DockerError) -> AgentpoolError:
    """An answer of the engine to a call about something that exists or is to exist."""
    message = one_line(error.message)
    if found := _look_up(_OF_A_CONTAINER, message, "template.image"):
        return found
    if error.status == 404:
        return Missing(f"the engine has it no more: {message}")
    if error.status in {400, 406, 422}:
        return Refused("InvalidContainer", f"the engine does not take the container: {message}")
    if error.status == 409:
        return Transient(f"the engine is at it already: {message}")
    return Transient(f"the engine failed ({error.status}): {message}")


def is_port_in_use(error: DockerError) -> bool:
    """Whether a start failed for nothing but the port that the engine had chosen."""
    return re.search(r"address already in use|port is already allocated", error.message) is not None


def sort_pull(error: DockerError, image: str) -> AgentpoolError:
    """An answer of the engine to a pull: what the registry said, mostly."""
    message = one_line(error.message)
    if found := _look_up(_OF_A_REGISTRY, message, image):
        return found
    return Refused(
        "RegistryUnreachable",
        f"{image} cannot be fetched from its registry: {message}; see to the registry, and to the engine's way to it",
    )


def one_line(message: str) -> str:
    """What an engine said, fit for a sentence."""
    return " ".join(message.split())[:300]


def _look_up(table: tuple[tuple[str, str, str], ...], message: str, what: str) -> Refused | None:
    for pattern, reason, sentence in table:
        if re.search(pattern, message, re.IGNORECASE):
            return Refused(reason, f"{sentence.format(what=what)} (the engine says: {message})")
    return None
