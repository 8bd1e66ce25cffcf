"""What may be in a golden image, file by file."""

import base64
import io
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backends.docker.golden import CHUNK, Forbidden, LeaveOut
from controller.backends.docker.owner import is_alive, this_process

TOKEN = "3f9c" * 16
KEY = "placeholder-0123456789abcdef01234567"
FORBIDDEN = Forbidden("/data", {"OPENCLAW_GATEWAY_TOKEN": TOKEN, "OPENROUTER_API_KEY": KEY})

WRITTEN: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda value: value,
    "hexadecimal": lambda value: value.hex().encode(),
    "HEXADECIMAL": lambda value: value.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64 for URLs": base64.urlsafe_b64encode,
    "UTF-16": lambda value: value.decode().encode("utf-16"),
    "JSON": lambda value: json.dumps({"auth": {"token": value.decode()}}).encode(),
}


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
@given(before=st.binary(max_size=40), after=st.binary(max_size=40), value=st.sampled_from([TOKEN, KEY]))
def test_a_secret_is_found_however_it_is_written(
    write: Callable[[bytes], bytes], before: bytes, after: bytes, value: str
) -> None:
    name = "OPENCLAW_GATEWAY_TOKEN" if value == TOKEN else "OPENROUTER_API_KEY"

    assert FORBIDDEN.text(before + write(value.encode()) + after) == f"holds the value of {name}"


@given(before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_a_secret_is_found_inside_of_what_is_encoded(before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(b"user:" + before + KEY.encode() + after)

    assert FORBIDDEN.text(encoded) == "holds the value of OPENROUTER_API_KEY"


def test_the_bytes_that_a_hexadecimal_token_stands_for_are_found() -> None:
    assert FORBIDDEN.text(bytes.fromhex(TOKEN)) == "holds the value of OPENCLAW_GATEWAY_TOKEN"


@pytest.mark.parametrize("at", [0, CHUNK - 10, CHUNK - 1, CHUNK, 2 * CHUNK - 30])
def test_a_secret_is_found_across_the_pieces_in_which_a_file_is_read(at: int) -> None:
    content = bytes(at) + TOKEN.encode() + bytes(CHUNK)

    assert FORBIDDEN.content(io.BytesIO(content)) == "holds the value of OPENCLAW_GATEWAY_TOKEN"


@pytest.mark.parametrize(
    "content",
    [
        b"-----BEGIN PRIVATE KEY-----\nMC4C",
        b"-----BEGIN OPENSSH PRIVATE KEY-----",
        b'SQLite format 3\0\0{"privateKeyPem":"-----BEGIN EC PRIVATE KEY-----\\nMH',
        b'{"walletKey": "0x' + b"ab" * 32 + b'"}',
        b"PRIVATE_WALLET_KEY=" + b"ab" * 32,
        b"PRIVATE_KEY=" + b"0f" * 32 + b"\n",
        b"XMTP_DB_ENCRYPTION_KEY='" + b"0f" * 32 + b"'",
        b'{"kty":"OKP","crv":"Ed25519","d":"' + b"x" * 43 + b'"}',
        b'{"crypto":{"cipher":"aes-128-ctr","ciphertext":"' + b"ab" * 32 + b'"}}',
    ],
)
def test_private_keys_are_found(content: bytes) -> None:
    assert FORBIDDEN.text(content) == "holds a private key"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----",
        b"-----BEGIN CERTIFICATE-----",
        b'{"key": "value", "privateKey": null, "walletKey": ""}',
        b"sha256:" + b"ab" * 32,
        b'{"kty":"OKP","x":"' + b"x" * 43 + b'"}',
        TOKEN[:40].encode(),
    ],
)
def test_what_is_no_secret_is_let_through(content: bytes) -> None:
    assert FORBIDDEN.text(content) is None


@pytest.mark.parametrize(
    ("path", "fit"),
    [
        ("/data/cache/model.bin", True),
        ("/data/openclaw.json", True),
        ("/elsewhere/provision.json", True),
        ("/data/provision.json", False),
        ("/data/loopback/state.json", False),
        ("/data/loopback/identity.key", False),
        ("/data/xmtp-dev-1.db3", False),
        ("/data/keystore/UTC--2026-01-01--0", False),
        ("/data/home/.ssh/id_ed25519", False),
    ],
)
def test_names_of_conversations_and_keys_are_known(path: str, fit: bool) -> None:
    assert (FORBIDDEN.name(path) is None) is fit


@pytest.mark.parametrize(
    ("path", "left_out"),
    [
        ("/data", False),
        ("/data/port", True),
        ("/data/sub/port", False),
        ("/data/logs/today.txt", True),
        ("/data/cache/agent.log", True),
        ("/data/gateway.pid", True),
        ("/var/run/x.pid", True),
        ("/data/gateway.lock/owner", True),
        ("/data/workspace/yarn.lock", False),
        ("/data/workspace/poetry.lock", False),
        ("/data/state/openclaw.sqlite-wal", True),
        ("/data/identity/device.json", True),
        ("/data/mine/secret.bin", True),
        ("/data/minerals", False),
        ("/port", False),
        ("/logs/x", False),
    ],
)
def test_what_belongs_to_a_run_is_left_out(path: str, left_out: bool) -> None:
    assert LeaveOut("/data", ["mine"])(path) is left_out


def test_a_living_process_is_at_work_and_an_ended_one_is_not() -> None:
    owner = this_process()
    place, pid, started = owner.rsplit(" ", 2)

    assert is_alive(owner) is True
    assert is_alive(f"{place} {pid} {int(started) + 1}") is False, "the pid is another process's by now"
    assert is_alive(f"{place} 4194304 1") is False


@pytest.mark.parametrize("owner", ["", "x", "another-host/pid:[1] 4194304 1", "another-host 1 1"])
def test_of_a_process_that_cannot_be_seen_from_here_nobody_knows(owner: str) -> None:
    assert is_alive(owner) is None
