"""Headers about limits are understood in every form in which they are sent."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backends.railway.ratelimit import RateLimit, read

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=90)


@pytest.mark.parametrize(
    "form",
    [
        "90",
        " 90.0 ",
        str(int(LATER.timestamp())),
        str(int(LATER.timestamp() * 1000)),
        LATER.isoformat(),
        "2026-01-02T03:05:35.000Z",
        "2026-01-02T03:05:35",
        format_datetime(LATER, usegmt=True),
        format_datetime(LATER.astimezone(), usegmt=False),
    ],
)
@pytest.mark.parametrize("header", ["X-RateLimit-Reset", "Retry-After"])
def test_a_moment_is_understood_in_every_form(header: str, form: str) -> None:
    told = read({"Date": format_datetime(NOW, usegmt=True), header: form})
    assert (told.reset if header == "X-RateLimit-Reset" else told.retry_after) == 90


def test_counts_are_read() -> None:
    assert read({"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "0"}) == RateLimit(limit=1000, remaining=0)


def test_what_is_not_sent_is_not_known() -> None:
    assert read({}) == RateLimit()


def test_a_moment_since_the_epoch_means_nothing_without_a_date() -> None:
    assert read({"X-RateLimit-Reset": str(int(LATER.timestamp()))}).reset is None


def test_a_moment_that_is_over_is_now_and_none_is_later_than_an_hour() -> None:
    date = format_datetime(LATER, usegmt=True)
    assert read({"Date": date, "Retry-After": format_datetime(NOW, usegmt=True)}).retry_after == 0
    assert read({"Date": date, "Retry-After": "86400"}).retry_after == 3600


@pytest.mark.parametrize("text", ["", "soon", "-5", "1e9", "0x10", "1.2.3", "٣", "9" * 40, ".", "nan", "+3"])
def test_nonsense_is_not_known(text: str) -> None:
    told = read({"X-RateLimit-Limit": text, "X-RateLimit-Remaining": text, "X-RateLimit-Reset": text})
    assert told == RateLimit()


@given(st.dictionaries(st.sampled_from(["Date", "Retry-After", "X-RateLimit-Reset", "X-RateLimit-Limit"]), st.text()))
def test_no_header_breaks_the_reading(headers: dict[str, str]) -> None:
    told = read(headers)
    assert told.retry_after is None or 0 <= told.retry_after <= 3600
    assert told.reset is None or 0 <= told.reset <= 3600
