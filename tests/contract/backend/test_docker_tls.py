"""The docker backend on an engine that speaks TLS only, over TCP: a real one, with certificates of its own."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.backends.docker import DockerBackend
from controller.backends.docker.address import read_address
from controller.backends.docker.engine import Engine
from controller.errors import Transient
from tests.contract.backend.docker_harness import DockerHarness

# The contract itself, over TLS: what launches, lists, follows, ends, freezes, renames and reads.
from tests.contract.backend.test_contract import (  # noqa: F401
    test_a_killed_instance_is_told,
    test_a_launched_instance_runs_and_is_listed_as_it_was_announced,
    test_a_paused_instance_is_frozen_until_it_is_resumed,
    test_a_renamed_instance_is_found_by_its_uid,
    test_a_terminated_instance_leaves_nothing,
    test_an_exit_is_told_and_listed_with_its_reason,
    test_an_instance_gets_its_order_s_environment,
    test_an_instance_that_does_not_listen_gets_its_grace_and_is_then_forced,
    test_changes_can_be_followed_again_after_they_were_left,
    test_instances_live_on_when_the_controller_goes_and_the_next_one_finds_them,
    test_instances_of_a_burst_are_all_different,
    test_launches_at_the_same_moment_make_one_remote,
    test_nothing_exists_at_first,
    test_the_completion_of_an_end_is_told,
    test_the_output_of_an_instance_can_be_read_while_it_runs_and_after_it_has_ended,
    test_what_does_not_exist_is_missing,
)
from tests.docker import api, image
from tests.docker.engine import PrivateEngine
from tests.docker.plugin import require_own_engine

LIFETIME = datetime.timedelta(days=2)


class Authority:
    """A certificate authority: it vouches for servers on loopback and for clients."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        basic = x509.BasicConstraints(ca=True, path_length=0)
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        draft = _draft(self._name, self._name, self._key).add_extension(basic, critical=True)
        self.certificate = draft.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())

    def write(self, folder: Path, *, server: bool = False, address: str = "127.0.0.1") -> Path:
        """Write ca.pem, and cert.pem with key.pem of one that it vouches for; the folder."""
        folder.mkdir(parents=True)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        draft = _draft(_name("server" if server else "client"), self._name, key)
        draft = draft.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if server:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            draft = draft.add_extension(names, critical=False)
        certificate = draft.sign(self._key, hashes.SHA256())
        (folder / "ca.pem").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "key.pem").write_bytes(secret)
        return folder


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFETIME)
        .not_valid_after(now + LIFETIME)
    )


@dataclass(frozen=True)
class TlsEngine:
    """An engine that is reached by TLS only, and the folder of certificates that it takes."""

    engine: PrivateEngine
    port: int
    authority: Authority
    certificates: Path

    def environ(self, certificates: Path | None = None) -> dict[str, str]:
        """What the operator's environment says of it."""
        return {
            "DOCKER_HOST": f"tcp://127.0.0.1:{self.port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(certificates or self.certificates),
        }


class TlsHarness(DockerHarness):
    """A world that the backend reaches by TLS; the tests' own hands use the socket."""

    def __init__(self, found: TlsEngine, image: str) -> None:
        super().__init__(found.engine.host, image)
        self.environ = found.environ()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short one: the engine's sockets are below it."""
    made = Path(tempfile.mkdtemp(prefix="ap-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def tls_engine(folder: Path) -> Iterator[TlsEngine]:
    """A real engine with --tlsverify."""
    require_own_engine()
    authority = Authority("the engine's authority")
    server = authority.write(folder / "server", server=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = {"tlscacert": "ca.pem", "tlscert": "cert.pem", "tlskey": "key.pem"}
    settings = {"tlsverify": True, **{setting: str(server / name) for setting, name in files.items()}}
    with PrivateEngine(folder / "engine", tcp=f"tcp://127.0.0.1:{port}", settings=settings) as engine:
        yield TlsEngine(engine, port, authority, authority.write(folder / "client"))
    engine.remove()


@pytest.fixture(scope="module")
def stub(tls_engine: TlsEngine) -> str:
    """The image of the tests' instances, on that engine."""
    with closing(api.Engine(tls_engine.engine.host)) as client:
        return image.stub_image(client)


@pytest.fixture
async def harness(tls_engine: TlsEngine, stub: str) -> AsyncIterator[TlsHarness]:
    """A world without instances on it: the contract's tests get this one."""
    world = TlsHarness(tls_engine, stub)
    yield world
    await world.close()


async def refusal(environ: dict[str, str]) -> str:
    """What the backend says of an engine that it cannot use."""
    backend = DockerBackend(Engine(read_address(environ)), installation="an-installation")
    try:
        with pytest.raises(Transient) as caught:
            await backend.list()
    finally:
        await backend.close()
    return str(caught.value)


async def test_a_client_that_the_engine_s_authority_does_not_vouch_for_is_told(
    tls_engine: TlsEngine, tmp_path: Path
) -> None:
    stranger = Authority("another authority").write(tmp_path / "stranger")
    shutil.copy(tls_engine.certificates / "ca.pem", stranger)
    assert "did not accept cert.pem in DOCKER_CERT_PATH" in await refusal(tls_engine.environ(stranger))


async def test_a_certificate_that_is_for_servers_is_told_where_a_client_s_is_wanted(tls_engine: TlsEngine) -> None:
    server = tls_engine.engine.folder.parent / "server"
    assert "did not accept cert.pem in DOCKER_CERT_PATH" in await refusal(tls_engine.environ(server))


async def test_an_engine_that_another_authority_vouches_for_is_told(tls_engine: TlsEngine, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    shutil.copytree(tls_engine.certificates, ours)
    shutil.copy(Authority("another authority").write(tmp_path / "other") / "ca.pem", ours)
    said = await refusal(tls_engine.environ(ours))
    assert "shows a certificate that ca.pem in DOCKER_CERT_PATH does not vouch for" in said


async def test_an_engine_under_a_name_that_its_certificate_lacks_is_told(tls_engine: TlsEngine) -> None:
    environ = {**tls_engine.environ(), "DOCKER_HOST": f"tcp://localhost:{tls_engine.port}"}
    said = await refusal(environ)
    assert "shows a certificate that ca.pem in DOCKER_CERT_PATH does not vouch for" in said
    assert "localhost" in said


async def test_an_operator_without_tls_is_told_that_the_engine_wants_it(tls_engine: TlsEngine) -> None:
    said = await refusal({"DOCKER_HOST": tls_engine.environ()["DOCKER_HOST"]})
    assert "speaks TLS only: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH" in said


async def test_an_engine_behind_tls_is_found_again_after_it_was_away(
    harness: TlsHarness, tls_engine: TlsEngine
) -> None:
    backend = await harness.make()
    await backend.launch(harness.order(harness.installation))
    following = asyncio.ensure_future(anext(aiter(backend.changes())))
    await asyncio.to_thread(tls_engine.engine.kill)
    with pytest.raises(Transient, match="does not answer: start it, or set DOCKER_HOST"):
        await backend.list()
    with pytest.raises(Transient, match="broke off"):
        await following
    await asyncio.to_thread(tls_engine.engine.start)
    assert [remote.uid for remote in await backend.list()] == [harness.installation]
