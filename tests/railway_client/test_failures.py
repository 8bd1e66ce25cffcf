"""What Railway says, sorted into what the controller does about it."""

import pytest

from controller.backends.railway.failures import Rejected, Throttled, Unanswered, one_line, sort
from controller.errors import AgentpoolError, Barred, Conflict, Missing, Refused, Transient


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Not Authorized", Barred),
        ("Project Token not found", Barred),
        ("Two Factor Authentication Required", Barred),
        ("Environment not found", Barred),
        ("Project 5f0c1b9e-0000-4000-8000-000000000000 not found", Barred),
        ("Project has been deleted", Barred),
        ("Service limit reached. Please upgrade your plan", Barred),
        ("You have reached the maximum number of volumes for your plan", Barred),
        ("Free plan resource provision limit exceeded. Please upgrade to provision more resources!", Barred),
        ("Your trial has expired", Barred),
        ('A service named "ap-1" already exists in this project', Conflict),
        ('A service named "trial-limit-exceeded upgrade" already exists in this project', Conflict),
        ('A volume named "github" already exists', Conflict),
        ("ServiceInstance not found", Transient),
        ("Failed to create service domain, please try again", Transient),
        ("Cannot redeploy yet, please wait", Transient),
        ("You are creating volumes too quickly. Please wait", Throttled),
        ("Rate limit exceeded", Throttled),
        ("Service not found", Missing),
        ('Service "ap-1" not found', Missing),
        ("Volume with id 7 not found", Missing),
        ("Deployment not found", Missing),
        ("Domain does not exist", Missing),
        ("Image ghcr.io/x/trial:1 not found", Refused),
        ("Invalid repo", Refused),
        ("Branch main does not exist", Refused),
        ("You do not have access to this repository", Refused),
        ("Region mars-west1 not found", Refused),
        ("Private Docker registries are available on the Pro plan", Refused),
        ("Environment variable NAME not found", Transient),
        ("Internal server error", Transient),
        ("", Transient),
    ],
)
def test_a_message_decides(message: str, kind: type[AgentpoolError]) -> None:
    assert type(sort(Rejected(message, code="INTERNAL_SERVER_ERROR"), "create the service")) is kind


@pytest.mark.parametrize(
    ("rejected", "reason", "seconds"),
    [
        (Rejected("Not Authorized"), "NotAuthorized", 30),
        (Rejected("HTTP 401", status=401), "NotAuthorized", 30),
        (Rejected("HTTP 403", status=403), "NotAuthorized", 30),
        (Rejected("Anything", code="UNAUTHENTICATED"), "NotAuthorized", 30),
        (Rejected("Environment not found"), "EnvironmentNotFound", 30),
        (Rejected("Volume limit reached"), "PlanLimitReached", 300),
    ],
)
def test_a_bar_says_why_and_when_to_look_again(rejected: Rejected, reason: str, seconds: float) -> None:
    error = sort(rejected, "create the service")
    assert isinstance(error, Barred)
    assert (error.reason, error.retry_after) == (reason, seconds)


@pytest.mark.parametrize(
    "rejected",
    [
        Rejected('Cannot query field "x" on type "Query".', status=400),
        Rejected("HTTP 400", status=400),
        Rejected('Variable "$id" of required type "String!" was not provided.', code="BAD_USER_INPUT"),
    ],
)
def test_what_is_not_understood_is_an_error_to_report(rejected: Rejected) -> None:
    error = sort(rejected, "create the service")
    assert isinstance(error, Refused)
    assert not isinstance(error, Barred)
    assert error.reason == "InvalidRequest"
    assert "please report it" in str(error)


def test_a_refused_token_names_what_to_look_at() -> None:
    text = str(sort(Rejected("Not Authorized", trace_id="t-1"), "read the environment"))
    assert text.startswith('Railway does not let this token read the environment ("Not Authorized", trace t-1): ')
    assert all(word in text for word in ("tokenSecretRef", "tokenType", "projectId", "environmentId"))


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("Two Factor Authentication Required", "enable it for the account"),
        ("Environment not found", "correct projectId and environmentId"),
        ("Service limit reached", "change to a bigger plan"),
        ("Invalid image", "correct image or git in the template"),
        ("Invalid region", "correct region in the pool's backend"),
        ("Registry credentials are not allowed", "correct imagePullSecret"),
    ],
)
def test_every_refusal_names_a_remedy(message: str, remedy: str) -> None:
    assert remedy in str(sort(Rejected(message), "create the service"))


def test_what_is_not_known_keeps_the_words_and_the_trace() -> None:
    error = sort(Rejected("Flux\n  capacitor", trace_id="42"), "create the service")
    assert type(error) is Transient
    assert str(error) == 'Railway failed to create the service ("Flux\n  capacitor", trace 42)'


def test_a_creation_that_came_too_quickly_rests_for_as_long_as_was_found_out() -> None:
    rejected = Rejected("creating volumes too quickly")
    error = sort(rejected, "create its volume")
    assert isinstance(error, Throttled)
    assert error.retry_after == 30
    rejected.retry_after = 47.5
    error = sort(rejected, "create its volume")
    assert isinstance(error, Throttled)
    assert error.retry_after == 47.5


@pytest.mark.parametrize(
    ("message", "wish"),
    [
        ("creating services too quickly: 1 per 30 seconds", 30),
        ("creating projects too quickly, one every 31s", 31),
        ("too quickly, try again in 5 sec", 5),
        ("creating volumes too quickly", None),
        ("2 seconds too quickly", None),
    ],
)
def test_the_pause_that_a_message_wishes_for_is_found(message: str, wish: float | None) -> None:
    assert Rejected(message).wish == wish


def test_only_what_was_refused_before_it_began_is_untouched() -> None:
    assert Rejected("Not Authorized").untouched
    assert Rejected("Not Authorized", path=("serviceCreate",)).untouched
    assert not Rejected("Not Authorized", path=("serviceCreate", "name")).untouched
    assert not Rejected("Not Authorized", partial=True).untouched


def test_nothing_certain_is_no_throttling_and_both_pass() -> None:
    assert isinstance(Unanswered("x"), Transient)
    assert isinstance(Throttled("x", 1.0), Transient)
    assert not isinstance(Throttled("x", 1.0), Unanswered)


def test_words_are_one_short_printable_line() -> None:
    assert one_line(" a\r\n\tb\x1b[31m\u2028c ") == "a b [31m c"
    assert len(one_line("word " * 1000)) <= 300


TOKEN = "3f2a9c10-57f4-4f6e-9f3b-0123456789ab"


@pytest.mark.parametrize("start", [0, 11, len(TOKEN) - 12])
@pytest.mark.parametrize("around", ["{}", "no such token: {}", "x" * 290 + "{}"])
def test_words_that_repeat_a_part_of_the_token_are_left_out(start: int, around: str) -> None:
    piece = TOKEN[start : start + 12]
    assert piece not in one_line(around.format(piece), TOKEN)
    assert piece in one_line(piece, "another-token-entirely")


def test_a_token_as_short_as_a_word_silences_nobody() -> None:
    assert one_line("Service not found", "no") == "Service not found"


def test_ids_are_no_tokens() -> None:
    assert one_line("Service 3f2a9c10-0000-4000-8000-000000000000 not found", TOKEN).startswith("Service 3f2a9c10")
