"""Where Railway is, as the operator's own environment says."""

import pytest

from controller.backends.railway.address import Address, read_address
from controller.errors import Misconfigured


def test_without_a_word_it_is_railway_itself() -> None:
    address = read_address({})

    assert address == Address()
    assert address.api.startswith("https://backboard.railway.com/")
    assert address.url_of("x.up.railway.app") == "https://x.up.railway.app"


def test_a_twin_on_loopback_may_be_asked_in_the_clear() -> None:
    address = read_address({
        "RAILWAY_API_URL": "http://127.0.0.1:8000/graphql/v2",
        "RAILWAY_EDGE_URL": "http://{domain}:8000",
        "RAILWAY_DRIFT_SECONDS": "2",
    })  # fmt: skip

    assert address.url_of("x.up.railway.localhost") == "http://x.up.railway.localhost:8000"
    assert address.drift_seconds == 2


def test_tokens_go_in_the_clear_to_no_other_host_whatever_domain_railway_gives() -> None:
    address = read_address({"RAILWAY_EDGE_URL": "http://{domain}:8000"})

    assert address.url_of("x.up.railway.app") == "https://x.up.railway.app"


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("RAILWAY_API_URL", "http://railway.example/graphql", "in the clear"),
        ("RAILWAY_API_URL", "ftp://railway.example", "http or https"),
        ("RAILWAY_API_URL", "https://ada:secret@railway.example", "without credentials"),
        ("RAILWAY_API_URL", "https://[", "no URL"),
        ("RAILWAY_EDGE_URL", "https://edge.example", "must hold {domain}"),
        ("RAILWAY_EDGE_URL", "http://edge.example/{domain}", "in the clear"),
        ("RAILWAY_DRIFT_SECONDS", "soon", "number of seconds"),
        ("RAILWAY_DRIFT_SECONDS", "0", "number of seconds"),
        ("RAILWAY_DRIFT_SECONDS", "nan", "number of seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(variable: str, value: str, remedy: str) -> None:
    with pytest.raises(Misconfigured, match=remedy) as caught:
        read_address({variable: value})

    assert variable in str(caught.value)
    assert "secret" not in str(caught.value)
