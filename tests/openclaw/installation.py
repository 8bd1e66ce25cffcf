"""npm's OpenClaw and a Node.js that runs it, in a folder outside the project: `python -m tests.openclaw.installation`.

package.json beside this file says which versions, package-lock.json pins everything they need. OPENCLAW_CACHE names
another folder than ~/.cache/agentpool/openclaw-VERSION.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PINS = ("package.json", "package-lock.json")


@dataclass(frozen=True, slots=True)
class Installation:
    """A folder in which OpenClaw is installed, or is to be."""

    folder: Path

    @property
    def complete(self) -> bool:
        """Whether what these pins name is there."""
        return self.program.is_file() and all(
            (self.folder / name).is_file() and (self.folder / name).read_bytes() == (HERE / name).read_bytes()
            for name in PINS
        )

    @property
    def program(self) -> Path:
        return self.folder / "node_modules" / "openclaw" / "openclaw.mjs"

    @property
    def command(self) -> list[str]:
        """How OpenClaw is started: by the Node.js beside it or, where there is none for the machine, by PATH's."""
        node = self.folder / "node_modules" / ".bin" / "node"
        return [str(node) if node.exists() else shutil.which("node") or "node", str(self.program)]


def installation() -> Installation:
    """The installation of the pinned version."""
    named = os.environ.get("OPENCLAW_CACHE", "").strip()
    version = json.loads((HERE / "package.json").read_bytes())["dependencies"]["openclaw"]
    return Installation(Path(named or Path.home() / ".cache" / "agentpool" / f"openclaw-{version}").absolute())


def install(wanted: Installation) -> None:
    """Install it beside its place, see that it runs, and move it there whole; SystemExit says what went wrong."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("There is no npm on PATH: install Node.js with npm, of any version that still is maintained.")
    if wanted.folder.exists() and not (wanted.folder / PINS[0]).is_file():
        raise SystemExit(f"{wanted.folder} exists and holds something else: remove it, or set OPENCLAW_CACHE.")
    wanted.folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Installation(Path(tempfile.mkdtemp(prefix=".openclaw-", dir=wanted.folder.parent)))
    try:
        for name in PINS:
            shutil.copy(HERE / name, draft.folder)
        # Without scripts: OpenClaw's own refuses the Node.js that npm runs on, where that is older than its own.
        words = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(words, cwd=draft.folder, check=False).returncode != 0:
            raise SystemExit("npm could not install OpenClaw; what it said is above.")
        told = subprocess.run([*draft.command, "--version"], capture_output=True, text=True, check=False)
        if told.returncode != 0:
            raise SystemExit(f"The installed OpenClaw does not run: {told.stderr.strip()}")
        shutil.rmtree(wanted.folder, ignore_errors=True)
        draft.folder.rename(wanted.folder)
        sys.stdout.write(f"{told.stdout.strip()} is in {wanted.folder}\n")
    finally:
        shutil.rmtree(draft.folder, ignore_errors=True)


if __name__ == "__main__":
    if not installation().complete:
        sys.stdout.write("installing OpenClaw (the first time this takes a minute or two)\n")
        install(installation())
