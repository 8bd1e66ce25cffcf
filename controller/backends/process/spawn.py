"""Start the process of one instance."""

import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from controller.backends.process.homes import sorted_errors
from controller.backends.process.table import INSTALLATION_MARK, INSTANCE_MARK, Identity, identify
from controller.errors import Refused, Transient

_SANE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EXPENDABLE = "500"


def choose_port(taken: Collection[int]) -> int:
    """A free port of the loopback interface that no other instance was given."""
    while True:
        with sorted_errors(Path("/proc/self/fd")), socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def environment(order: Mapping[str, str], *, uid: str, installation: str, port: int, state: Path) -> dict[str, str]:
    """The whole environment: the little that programs need, the order's, and what only the backend knows.

    Nothing else of the operator's own environment gets in: it holds its secrets.
    """
    return {
        "PATH": os.environ.get("PATH", _SANE_PATH),
        "HOME": str(state),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TZ": os.environ.get("TZ", "UTC"),
        **order,
        "PORT": str(port),
        "OPENCLAW_STATE_DIR": str(state),
        INSTANCE_MARK: uid,
        INSTALLATION_MARK: installation,
    }


def resolve(command: Sequence[str], path: str) -> list[str]:
    """The command with the full path of its program; ``Refused`` when there is none."""
    if not command or not command[0]:
        raise Refused("CommandNotFound", "the command is empty: name a program in template.command")
    program = command[0]
    if os.sep in program and not Path(program).is_absolute():
        raise Refused(
            "CommandNotFound",
            f"command {program!r} is a relative path, but each instance starts in a directory of its own: "
            "give the absolute path, or the name of a program on PATH",
        )
    found = shutil.which(program, path=path)
    if found is not None:
        return [str(Path(found).absolute()), *command[1:]]
    if os.sep in program and Path(program).exists():
        remedy = f"is not an executable file: run chmod +x {program}, or name its interpreter first"
    elif os.sep in program:
        remedy = "does not exist on the host of the operator: install it, or correct template.command"
    else:
        remedy = f"is on none of the directories of PATH ({path}): install it, or give the absolute path"
    raise Refused("CommandNotFound", f"command {program!r} {remedy}")


def spawn(command: Sequence[str], env: Mapping[str, str], *, state: Path, log: Path) -> Identity:
    """Start it in a session of its own, without a terminal, and let go of it: it outlives the operator."""
    with sorted_errors(state.parent):
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                command,
                env=env,
                cwd=state,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
            )
        except ValueError as error:
            raise Refused(
                "InvalidEnvironment", "a NUL character is in the command or in an environment variable: remove it"
            ) from error
        except OSError as error:
            refused = _refusal(error, command[0])
            if refused is None or error.filename == str(state):
                raise
            raise refused from error
        finally:
            os.close(output)
    try:
        identity = identify(process.pid)
    except Transient:
        # Nobody could tell it from another one later. It was asked nothing yet: the next launch starts it again.
        process.kill()
        process.wait()
        raise
    # Its exit is noticed and collected by identity. A Popen would warn when it is forgotten, and collect the exit
    # status behind our back.
    process.returncode = 0
    _make_expendable(process.pid)
    # Without an entry the system collected it at once, as it does where SIGCHLD is ignored: it has ended.
    return identity if identity is not None else Identity(process.pid, 0)


def _refusal(error: OSError, program: str) -> Refused | None:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return Refused("CommandNotFound", f"{program} or the interpreter that its first line names does not exist")
        case errno.EACCES | errno.EPERM:
            return Refused("CommandNotFound", f"{program} may not be executed by the user of the operator: chmod +x it")
        case errno.ENOEXEC:
            return Refused(
                "CommandNotFound",
                f"{program} is no program for this host: begin the script with #! and its interpreter, or build it "
                f"for {os.uname().machine}",
            )
        case errno.E2BIG:
            return Refused(
                "EnvironmentTooLarge",
                "the command and its environment are larger than the system allows: shorten the largest variables",
            )
        case _:
            return None


def _make_expendable(pid: int) -> None:
    """When the host runs out of memory the kernel shall end an instance, not the operator."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(_EXPENDABLE)
    except OSError:
        # A preference, not a promise: the instance may have ended already, or the container may not allow it.
        return


def exit_of(pid: int) -> str | None:
    """How a child of ours ended, collecting its exit status; ``None`` for somebody else's, and while it runs."""
    try:
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return f"exited with code {result.si_status}"
    try:
        return f"was killed by {signal.Signals(result.si_status).name}"
    except ValueError:
        return f"was killed by signal {result.si_status}"
