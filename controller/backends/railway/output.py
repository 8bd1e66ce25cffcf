"""What instances write, as Railway keeps it."""

from collections.abc import AsyncIterator, Awaitable, Callable

from controller.backends.railway.api import LONGEST_LOG, EnvironmentApi
from controller.backends.railway.shapes import LogLine

POLL_SECONDS = 2.0


async def read_output(
    api: EnvironmentApi,
    deployment_id: str,
    *,
    tail: int | None,
    follow: Callable[[], Awaitable[bool]] | None,
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncIterator[bytes]:
    """The lines of a deployment, the last ``tail`` of them at first; then, while ``follow`` says so, what is added.

    Railway gives 5,000 lines at most at once. Lines bear times of a nanosecond, which hardly ever repeat; those of the
    last one's time are remembered, since asking again from that time on brings them again.
    """
    since: str | None = None
    shown: set[tuple[str, str]] = set()
    wanted = LONGEST_LOG if tail is None else tail
    if wanted == 0 and follow is not None:
        newest = await api.logs(deployment_id, 1)
        since, shown = _mark(newest, since, shown)
    elif wanted:
        # Where nothing ever ran, the build says why.
        lines = await api.logs(deployment_id, wanted) or await api.build_logs(deployment_id)
        for line in lines[-wanted:]:
            yield _text(line)
        since, shown = _mark(lines, since, shown)
    while follow is not None:
        # Asked before the lines are read: what was written before the end is shown, too.
        goes_on = await follow()
        lines = await api.logs(deployment_id, LONGEST_LOG, since)
        for line in lines:
            if (line.timestamp, line.message) not in shown and (since is None or line.timestamp >= since):
                yield _text(line)
        since, shown = _mark(lines, since, shown)
        if not goes_on:
            return
        await sleep(POLL_SECONDS)


def _mark(
    lines: tuple[LogLine, ...], since: str | None, shown: set[tuple[str, str]]
) -> tuple[str | None, set[tuple[str, str]]]:
    if not lines:
        return since, shown
    newest = max(line.timestamp for line in lines)
    latest = {(line.timestamp, line.message) for line in lines if line.timestamp == newest}
    return newest, latest | (shown if newest == since else set())


def _text(line: LogLine) -> bytes:
    return (line.message + "\n").encode()
