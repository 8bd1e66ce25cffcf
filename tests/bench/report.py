"""Results for people, and for programs."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tests.bench.figures import FIGURES, TARGETS, Result

UNDISTURBED_CORES = 0.15
"""What other programs may take of the machine before figures are doubtful; an API server that was given counts too."""
_PACKAGES = ("agentpool", "kopf", "kubernetes", "aiohttp", "uvloop", "pydantic", "orjson")


def circumstances(server: str, server_version: str) -> dict[str, Any]:
    """Machine, versions, date and commit: what a figure is worth nothing without."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gigabytes": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.platform(),
            "load_at_start": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "server": {"kind": server, "version": server_version},
    }


def _commit() -> str:
    folder = Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(results: Sequence[Result], told: Mapping[str, Any], repeat: int) -> str:
    """Everything measured, each figure beside its target."""
    machine, server, engine = told["machine"], told["server"], told.get("engine")
    head = (
        f"{told['date']}  commit {told['commit'][:12]}\n"
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gigabytes']} GB, "
        f"load {machine['load_at_start']} at the start; Python {told['versions']['python']}; "
        f"API server: {server['kind']} {server['version']}; "
        f"{'one run' if repeat == 1 else f'median of {repeat} runs'}"
    )
    if engine is not None:
        head += f"; Docker engine: {engine['kind']} {engine['version']}"
    if told.get("left_out"):
        head += f"\n{told['left_out']}"
    return "\n\n".join([head, *(_section(result) for result in results), _sum(results)])


def _section(result: Result) -> str:
    lines = [f"== {result.scenario} =="]
    for name, (what, unit) in FIGURES.items():
        if name in result.figures:
            lines.append(_line(result.scenario, name, what, unit, result.figures[name]))
    for heading, rows in result.tables.items():
        lines.append(f"  {heading}: {sum(rows.values()):.2f}")
        lines += [f"      {value:8.2f}  {name}" for name, value in rows.items()]
    if result.figures.get("other_cores", 0.0) > UNDISTURBED_CORES:
        lines.append("  DISTURBED: other programs took CPU from what was measured, so these times are too long")
    lines += [f"  WRONG: {fault}" for fault in result.faults]
    if result.unfinished is not None:
        lines.append(f"  DID NOT FINISH: {result.unfinished}")
    return "\n".join(lines)


def _line(scenario: str, name: str, what: str, unit: str, value: float) -> str:
    line = f"  {what:<54}{value:>10.2f} {unit:<3}"
    target = TARGETS.get((scenario, name))
    if target is None:
        return line
    return f"{line} target <= {target:<5g} {'reached' if value <= target else 'MISSED'}"


def _sum(results: Sequence[Result]) -> str:
    measured = [
        result.figures[name] <= target
        for (scenario, name), target in TARGETS.items()
        for result in results
        if result.scenario == scenario and name in result.figures
    ]
    wrong = [result.scenario for result in results if not result.passed]
    verdict = f"wrong or not finished: {', '.join(wrong)}" if wrong else "every scenario finished and was right"
    return f"{sum(measured)} of {len(measured)} targets reached; {verdict}"


def document(summary: Sequence[Result], runs: Sequence[Result], told: Mapping[str, Any]) -> dict[str, Any]:
    """The same for programs: medians, and every run."""
    return {
        **told,
        "targets": [{"scenario": scenario, "figure": name, "at_most": at} for (scenario, name), at in TARGETS.items()],
        "medians": [asdict(result) for result in summary],
        "runs": [asdict(result) for result in runs],
    }
