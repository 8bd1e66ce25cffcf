"""Where the engine is, and how to get in: DOCKER_HOST and its kin."""

import ipaddress
import ssl
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from controller.errors import Misconfigured

DEFAULT_HOST = "unix:///var/run/docker.sock"
_EXAMPLES = "use for example unix:///var/run/docker.sock or tcp://docker.example:2376"
_FORWARD = (
    "forward the engine's socket with 'ssh -L /tmp/docker.sock:/var/run/docker.sock' and set DOCKER_HOST to "
    "unix:///tmp/docker.sock"
)


@dataclass(frozen=True, slots=True)
class Address:
    """One engine, as DOCKER_HOST names it."""

    text: str
    """What DOCKER_HOST says, for messages."""
    socket: str | None = None
    """Path of the unix socket, if it is one."""
    host: str = "localhost"
    port: int = 0
    tls: ssl.SSLContext | None = field(default=None, compare=False)

    @property
    def base_url(self) -> str:
        """What the path of every request is appended to."""
        if self.socket is not None:
            return "http://localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls is not None else 'http'}://{host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether the engine runs on this very host, so that its loopback addresses are ours."""
        return self.socket is not None or self.host == "localhost" or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address (not a name) is one that only its own host reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_address(environ: Mapping[str, str]) -> Address:
    """The address that an environment names. ``Misconfigured`` for what cannot be an engine's."""
    text = environ.get("DOCKER_HOST", "").strip() or DEFAULT_HOST
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise Misconfigured(f"{_setting(text)} has no scheme: {_EXAMPLES}")
    if scheme == "unix":
        if not rest.startswith("/"):
            raise Misconfigured(f"{_setting(text)} is a unix socket, which needs an absolute path: {_EXAMPLES}")
        return Address(text, socket=rest)
    if scheme == "ssh":
        raise Misconfigured(f"{_setting(text)} cannot be used: agentpool does not log in by ssh; {_FORWARD}")
    if scheme not in {"tcp", "http", "https"}:
        raise Misconfigured(f"{_setting(text)} has a scheme that agentpool does not speak: {_EXAMPLES}")
    return _read_tcp(text, scheme, environ)


def _setting(text: str) -> str:
    """DOCKER_HOST for a message, and what it says unless that may hold a password, however badly it is written."""
    # Some letters of Unicode are an @ to whoever reads addresses.
    return "DOCKER_HOST" if "@" in unicodedata.normalize("NFKC", text) else f"DOCKER_HOST ({text!r})"


def _read_tcp(text: str, scheme: str, environ: Mapping[str, str]) -> Address:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        # Its words quote the part that it does not like.
        raise Misconfigured(f"DOCKER_HOST is no address of an engine: {_EXAMPLES}") from None
    if parts.username is not None or parts.password is not None:
        raise Misconfigured("DOCKER_HOST holds a user or a password, which the engine does not know: use TLS instead")
    if not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise Misconfigured(f"{_setting(text)} must be a host and a port: {_EXAMPLES}")
    tls = _tls_context(scheme, environ)
    address = Address(text, host=host, port=port or (2376 if tls is not None else 2375), tls=tls)
    if tls is None and not address.local:
        # Every order holds the keys of an agent, and whoever reaches such a port owns the host.
        raise Misconfigured(
            f"{_setting(text)} is another host, which is spoken to by TLS only: set DOCKER_TLS_VERIFY=1, and "
            f"DOCKER_CERT_PATH to the directory with ca.pem, cert.pem and key.pem; or {_FORWARD}"
        )
    return address


def _tls_context(scheme: str, environ: Mapping[str, str]) -> ssl.SSLContext | None:
    # As with the docker command, any value of DOCKER_TLS_VERIFY but the empty one counts.
    verify, folder = environ.get("DOCKER_TLS_VERIFY", ""), environ.get("DOCKER_CERT_PATH", "")
    if not verify and scheme != "https":
        return None
    if not verify and not folder:
        return ssl.create_default_context()
    certificates = Path(folder) if folder else Path(environ.get("HOME", "/root"), ".docker")
    for name in ("ca.pem", "cert.pem", "key.pem"):
        try:
            (certificates / name).read_bytes()
        except OSError as error:
            raise Misconfigured(
                f"{certificates / name} cannot be read ({error.strerror}): DOCKER_TLS_VERIFY needs ca.pem, cert.pem "
                "and key.pem in the directory that DOCKER_CERT_PATH names"
            ) from None
    try:
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    except ssl.SSLError as error:
        raise Misconfigured(
            f"the files in {certificates} are no certificates for TLS ({error.reason or 'unreadable'}): "
            "DOCKER_CERT_PATH must hold ca.pem, and cert.pem with the key that is in key.pem"
        ) from None
    return context
