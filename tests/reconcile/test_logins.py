"""What of a pull Secret may be in no sentence."""

import base64
import json

import pytest

from controller.reconcile.logins import confidential_in

AUTH = base64.b64encode(b"ada:very-secret").decode()


@pytest.mark.parametrize(
    ("login", "confidential"),
    [
        ({"username": "ada", "password": "very-secret"}, {"very-secret"}),
        ({"auth": AUTH}, {AUTH, "ada:very-secret", "very-secret"}),
        ({"identitytoken": "one", "registrytoken": "two", "email": "ada@r.example"}, {"one", "two"}),
        ({"auth": "no base64!"}, {"no base64!"}),
        ({"auth": 7, "password": None}, set()),
    ],
    ids=["a password", "an auth", "tokens", "a broken auth", "of another type"],
)
def test_of_a_login_all_is_confidential_that_opens_the_registry(login: object, confidential: set[str]) -> None:
    other = {"password": "of-another-registry"}
    found = confidential_in(json.dumps({"auths": {"r.example": login, "other.example": other}}))
    assert set(found) == confidential | {"of-another-registry"}


@pytest.mark.parametrize(
    "text",
    ["very-secret", '["very-secret"]', '{"auths": "very-secret"}', '{"auths": {"r": "very-secret"}}', "[" * 100_000],
)
def test_of_what_is_no_list_of_logins_the_whole_text_is_confidential(text: str) -> None:
    assert confidential_in(text) == [text]
