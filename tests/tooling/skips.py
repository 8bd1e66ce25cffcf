"""A plugin of pytest for ``make test``: what was skipped, counted by reason instead of listed by line."""

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    if reasons:
        terminalreporter.section("what was skipped, and why")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5} {'test' if count == 1 else 'tests'}: {reason}")
